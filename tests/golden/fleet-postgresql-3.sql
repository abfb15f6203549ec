SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;
CREATE SCHEMA edgeglm;
SET default_tablespace = '';
SET default_table_access_method = heap;
CREATE TABLE edgeglm.alarm_events (
    device bigint NOT NULL,
    slot text NOT NULL,
    at_ms bigint NOT NULL,
    stream bigint NOT NULL,
    sequence bigint NOT NULL,
    body bytea NOT NULL
);
CREATE TABLE edgeglm.counters (
    name text NOT NULL,
    value bigint NOT NULL
);
CREATE TABLE edgeglm.devices (
    id bigint NOT NULL,
    fleet text NOT NULL,
    name text NOT NULL,
    shard text NOT NULL,
    first_seen_ms bigint NOT NULL,
    heard_ms bigint NOT NULL,
    state bytea,
    state_ms bigint DEFAULT 0 NOT NULL
)
WITH (fillfactor='70');
ALTER TABLE edgeglm.devices ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME edgeglm.devices_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE edgeglm.events (
    at_ms bigint NOT NULL,
    device bigint NOT NULL,
    stream bigint NOT NULL,
    sequence bigint NOT NULL,
    received_ms bigint NOT NULL,
    slot text NOT NULL,
    name text NOT NULL,
    severity text NOT NULL,
    body bytea NOT NULL
)
PARTITION BY RANGE (at_ms);
CREATE TABLE edgeglm.events_20270115 (
    at_ms bigint NOT NULL,
    device bigint NOT NULL,
    stream bigint NOT NULL,
    sequence bigint NOT NULL,
    received_ms bigint NOT NULL,
    slot text NOT NULL,
    name text NOT NULL,
    severity text NOT NULL,
    body bytea NOT NULL
);
CREATE TABLE edgeglm.events_20270116 (
    at_ms bigint NOT NULL,
    device bigint NOT NULL,
    stream bigint NOT NULL,
    sequence bigint NOT NULL,
    received_ms bigint NOT NULL,
    slot text NOT NULL,
    name text NOT NULL,
    severity text NOT NULL,
    body bytea NOT NULL
);
CREATE TABLE edgeglm.events_20270117 (
    at_ms bigint NOT NULL,
    device bigint NOT NULL,
    stream bigint NOT NULL,
    sequence bigint NOT NULL,
    received_ms bigint NOT NULL,
    slot text NOT NULL,
    name text NOT NULL,
    severity text NOT NULL,
    body bytea NOT NULL
);
CREATE TABLE edgeglm.events_before (
    at_ms bigint NOT NULL,
    device bigint NOT NULL,
    stream bigint NOT NULL,
    sequence bigint NOT NULL,
    received_ms bigint NOT NULL,
    slot text NOT NULL,
    name text NOT NULL,
    severity text NOT NULL,
    body bytea NOT NULL
);
CREATE TABLE edgeglm.forgotten (
    fleet text NOT NULL,
    name text NOT NULL,
    at_ms bigint NOT NULL
);
CREATE TABLE edgeglm.gaps (
    at_ms bigint NOT NULL,
    device bigint NOT NULL,
    stream bigint NOT NULL,
    sequence bigint NOT NULL,
    received_ms bigint NOT NULL,
    reason text NOT NULL,
    rows bigint NOT NULL,
    body bytea NOT NULL
)
PARTITION BY RANGE (at_ms);
CREATE TABLE edgeglm.gaps_20270115 (
    at_ms bigint NOT NULL,
    device bigint NOT NULL,
    stream bigint NOT NULL,
    sequence bigint NOT NULL,
    received_ms bigint NOT NULL,
    reason text NOT NULL,
    rows bigint NOT NULL,
    body bytea NOT NULL
);
CREATE TABLE edgeglm.gaps_20270116 (
    at_ms bigint NOT NULL,
    device bigint NOT NULL,
    stream bigint NOT NULL,
    sequence bigint NOT NULL,
    received_ms bigint NOT NULL,
    reason text NOT NULL,
    rows bigint NOT NULL,
    body bytea NOT NULL
);
CREATE TABLE edgeglm.gaps_20270117 (
    at_ms bigint NOT NULL,
    device bigint NOT NULL,
    stream bigint NOT NULL,
    sequence bigint NOT NULL,
    received_ms bigint NOT NULL,
    reason text NOT NULL,
    rows bigint NOT NULL,
    body bytea NOT NULL
);
CREATE TABLE edgeglm.gaps_before (
    at_ms bigint NOT NULL,
    device bigint NOT NULL,
    stream bigint NOT NULL,
    sequence bigint NOT NULL,
    received_ms bigint NOT NULL,
    reason text NOT NULL,
    rows bigint NOT NULL,
    body bytea NOT NULL
);
CREATE TABLE edgeglm.hour_sums (
    hour bigint NOT NULL,
    device bigint NOT NULL,
    slot text NOT NULL,
    rows bigint NOT NULL,
    body bytea NOT NULL
);
CREATE TABLE edgeglm.hourly_days (
    day bigint NOT NULL,
    rows bigint NOT NULL
);
CREATE TABLE edgeglm.late_hours (
    device bigint NOT NULL,
    hour bigint NOT NULL
);
CREATE TABLE edgeglm.latest (
    device bigint NOT NULL,
    slot text NOT NULL,
    at_ms bigint NOT NULL,
    received_ms bigint NOT NULL,
    body bytea NOT NULL
)
WITH (fillfactor='50');
CREATE TABLE edgeglm.others (
    at_ms bigint NOT NULL,
    device bigint NOT NULL,
    stream bigint NOT NULL,
    sequence bigint NOT NULL,
    received_ms bigint NOT NULL,
    kind bigint NOT NULL,
    body bytea NOT NULL
)
PARTITION BY RANGE (at_ms);
CREATE TABLE edgeglm.others_20270115 (
    at_ms bigint NOT NULL,
    device bigint NOT NULL,
    stream bigint NOT NULL,
    sequence bigint NOT NULL,
    received_ms bigint NOT NULL,
    kind bigint NOT NULL,
    body bytea NOT NULL
);
CREATE TABLE edgeglm.others_20270116 (
    at_ms bigint NOT NULL,
    device bigint NOT NULL,
    stream bigint NOT NULL,
    sequence bigint NOT NULL,
    received_ms bigint NOT NULL,
    kind bigint NOT NULL,
    body bytea NOT NULL
);
CREATE TABLE edgeglm.others_20270117 (
    at_ms bigint NOT NULL,
    device bigint NOT NULL,
    stream bigint NOT NULL,
    sequence bigint NOT NULL,
    received_ms bigint NOT NULL,
    kind bigint NOT NULL,
    body bytea NOT NULL
);
CREATE TABLE edgeglm.others_before (
    at_ms bigint NOT NULL,
    device bigint NOT NULL,
    stream bigint NOT NULL,
    sequence bigint NOT NULL,
    received_ms bigint NOT NULL,
    kind bigint NOT NULL,
    body bytea NOT NULL
);
CREATE TABLE edgeglm.placed (
    stream bigint NOT NULL,
    sequence bigint NOT NULL,
    at_ms bigint NOT NULL
);
CREATE TABLE edgeglm.poison (
    id bigint NOT NULL,
    topic text NOT NULL,
    reason text NOT NULL,
    payload bytea NOT NULL,
    received_ms bigint NOT NULL
);
ALTER TABLE edgeglm.poison ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME edgeglm.poison_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE edgeglm.removed (
    source text NOT NULL,
    before_ms bigint NOT NULL
);
CREATE TABLE edgeglm.replies (
    id bigint NOT NULL,
    device bigint NOT NULL,
    request text NOT NULL,
    received_ms bigint NOT NULL,
    body bytea NOT NULL
);
ALTER TABLE edgeglm.replies ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME edgeglm.replies_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE edgeglm.results (
    at_ms bigint NOT NULL,
    device bigint NOT NULL,
    stream bigint NOT NULL,
    sequence bigint NOT NULL,
    received_ms bigint NOT NULL,
    slot text NOT NULL,
    body bytea NOT NULL
)
PARTITION BY RANGE (at_ms);
CREATE TABLE edgeglm.results_20270115 (
    at_ms bigint NOT NULL,
    device bigint NOT NULL,
    stream bigint NOT NULL,
    sequence bigint NOT NULL,
    received_ms bigint NOT NULL,
    slot text NOT NULL,
    body bytea NOT NULL
);
CREATE TABLE edgeglm.results_20270116 (
    at_ms bigint NOT NULL,
    device bigint NOT NULL,
    stream bigint NOT NULL,
    sequence bigint NOT NULL,
    received_ms bigint NOT NULL,
    slot text NOT NULL,
    body bytea NOT NULL
);
CREATE TABLE edgeglm.results_20270117 (
    at_ms bigint NOT NULL,
    device bigint NOT NULL,
    stream bigint NOT NULL,
    sequence bigint NOT NULL,
    received_ms bigint NOT NULL,
    slot text NOT NULL,
    body bytea NOT NULL
);
CREATE TABLE edgeglm.results_before (
    at_ms bigint NOT NULL,
    device bigint NOT NULL,
    stream bigint NOT NULL,
    sequence bigint NOT NULL,
    received_ms bigint NOT NULL,
    slot text NOT NULL,
    body bytea NOT NULL
);
CREATE TABLE edgeglm.schema_version (
    version bigint NOT NULL
);
CREATE TABLE edgeglm.streams (
    id bigint NOT NULL,
    device bigint NOT NULL,
    epoch bytea NOT NULL,
    copy_of bigint,
    through bigint DEFAULT 0 NOT NULL,
    beyond bytea DEFAULT '\x'::bytea NOT NULL,
    lost bytea DEFAULT '\x'::bytea NOT NULL,
    last_ms bigint DEFAULT 0 NOT NULL,
    rows bigint DEFAULT 0 NOT NULL,
    duplicates bigint DEFAULT 0 NOT NULL,
    taken_back bigint DEFAULT 0 NOT NULL,
    taken_back_at_ms bigint DEFAULT 0 NOT NULL,
    lost_rows bigint DEFAULT 0 NOT NULL,
    lost_at_ms bigint DEFAULT 0 NOT NULL,
    clock_off_ms bigint
)
WITH (fillfactor='50');
ALTER TABLE edgeglm.streams ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME edgeglm.streams_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE edgeglm.windows (
    at_ms bigint NOT NULL,
    device bigint NOT NULL,
    stream bigint NOT NULL,
    sequence bigint NOT NULL,
    received_ms bigint NOT NULL,
    slot text NOT NULL,
    duration_ms bigint NOT NULL,
    inferences bigint NOT NULL,
    errors bigint NOT NULL,
    cpu_permille bigint,
    temperature_decic bigint,
    psi_milli bigint,
    body bytea NOT NULL
)
PARTITION BY RANGE (at_ms);
CREATE TABLE edgeglm.windows_20270115 (
    at_ms bigint NOT NULL,
    device bigint NOT NULL,
    stream bigint NOT NULL,
    sequence bigint NOT NULL,
    received_ms bigint NOT NULL,
    slot text NOT NULL,
    duration_ms bigint NOT NULL,
    inferences bigint NOT NULL,
    errors bigint NOT NULL,
    cpu_permille bigint,
    temperature_decic bigint,
    psi_milli bigint,
    body bytea NOT NULL
);
CREATE TABLE edgeglm.windows_20270116 (
    at_ms bigint NOT NULL,
    device bigint NOT NULL,
    stream bigint NOT NULL,
    sequence bigint NOT NULL,
    received_ms bigint NOT NULL,
    slot text NOT NULL,
    duration_ms bigint NOT NULL,
    inferences bigint NOT NULL,
    errors bigint NOT NULL,
    cpu_permille bigint,
    temperature_decic bigint,
    psi_milli bigint,
    body bytea NOT NULL
);
CREATE TABLE edgeglm.windows_20270117 (
    at_ms bigint NOT NULL,
    device bigint NOT NULL,
    stream bigint NOT NULL,
    sequence bigint NOT NULL,
    received_ms bigint NOT NULL,
    slot text NOT NULL,
    duration_ms bigint NOT NULL,
    inferences bigint NOT NULL,
    errors bigint NOT NULL,
    cpu_permille bigint,
    temperature_decic bigint,
    psi_milli bigint,
    body bytea NOT NULL
);
CREATE TABLE edgeglm.windows_before (
    at_ms bigint NOT NULL,
    device bigint NOT NULL,
    stream bigint NOT NULL,
    sequence bigint NOT NULL,
    received_ms bigint NOT NULL,
    slot text NOT NULL,
    duration_ms bigint NOT NULL,
    inferences bigint NOT NULL,
    errors bigint NOT NULL,
    cpu_permille bigint,
    temperature_decic bigint,
    psi_milli bigint,
    body bytea NOT NULL
);
ALTER TABLE ONLY edgeglm.events ATTACH PARTITION edgeglm.events_20270115 FOR VALUES FROM ('1799971200000') TO ('1800057600000');
ALTER TABLE ONLY edgeglm.events ATTACH PARTITION edgeglm.events_20270116 FOR VALUES FROM ('1800057600000') TO ('1800144000000');
ALTER TABLE ONLY edgeglm.events ATTACH PARTITION edgeglm.events_20270117 FOR VALUES FROM ('1800144000000') TO ('1800230400000');
ALTER TABLE ONLY edgeglm.events ATTACH PARTITION edgeglm.events_before FOR VALUES FROM (MINVALUE) TO ('1796947200000');
ALTER TABLE ONLY edgeglm.gaps ATTACH PARTITION edgeglm.gaps_20270115 FOR VALUES FROM ('1799971200000') TO ('1800057600000');
ALTER TABLE ONLY edgeglm.gaps ATTACH PARTITION edgeglm.gaps_20270116 FOR VALUES FROM ('1800057600000') TO ('1800144000000');
ALTER TABLE ONLY edgeglm.gaps ATTACH PARTITION edgeglm.gaps_20270117 FOR VALUES FROM ('1800144000000') TO ('1800230400000');
ALTER TABLE ONLY edgeglm.gaps ATTACH PARTITION edgeglm.gaps_before FOR VALUES FROM (MINVALUE) TO ('1796947200000');
ALTER TABLE ONLY edgeglm.others ATTACH PARTITION edgeglm.others_20270115 FOR VALUES FROM ('1799971200000') TO ('1800057600000');
ALTER TABLE ONLY edgeglm.others ATTACH PARTITION edgeglm.others_20270116 FOR VALUES FROM ('1800057600000') TO ('1800144000000');
ALTER TABLE ONLY edgeglm.others ATTACH PARTITION edgeglm.others_20270117 FOR VALUES FROM ('1800144000000') TO ('1800230400000');
ALTER TABLE ONLY edgeglm.others ATTACH PARTITION edgeglm.others_before FOR VALUES FROM (MINVALUE) TO ('1796947200000');
ALTER TABLE ONLY edgeglm.results ATTACH PARTITION edgeglm.results_20270115 FOR VALUES FROM ('1799971200000') TO ('1800057600000');
ALTER TABLE ONLY edgeglm.results ATTACH PARTITION edgeglm.results_20270116 FOR VALUES FROM ('1800057600000') TO ('1800144000000');
ALTER TABLE ONLY edgeglm.results ATTACH PARTITION edgeglm.results_20270117 FOR VALUES FROM ('1800144000000') TO ('1800230400000');
ALTER TABLE ONLY edgeglm.results ATTACH PARTITION edgeglm.results_before FOR VALUES FROM (MINVALUE) TO ('1796947200000');
ALTER TABLE ONLY edgeglm.windows ATTACH PARTITION edgeglm.windows_20270115 FOR VALUES FROM ('1799971200000') TO ('1800057600000');
ALTER TABLE ONLY edgeglm.windows ATTACH PARTITION edgeglm.windows_20270116 FOR VALUES FROM ('1800057600000') TO ('1800144000000');
ALTER TABLE ONLY edgeglm.windows ATTACH PARTITION edgeglm.windows_20270117 FOR VALUES FROM ('1800144000000') TO ('1800230400000');
ALTER TABLE ONLY edgeglm.windows ATTACH PARTITION edgeglm.windows_before FOR VALUES FROM (MINVALUE) TO ('1796947200000');
INSERT INTO edgeglm.alarm_events VALUES (1, 'main', 1799999991000, 1, 6, '\x99ac6d6f64656c2d6c6f61646564a46d61696eb030303030303030303030303030303030cf000001a3185c2cd801c3a77761726e696e6782a766656174757265a7696e7075742e78a3707369cb3fd3333333333333c0');
INSERT INTO edgeglm.alarm_events VALUES (1, 'main', 1799999991001, 1, 7, '\x99ac64726966742d726169736564a46d61696eb030303030303030303030303030303030cf000001a3185c2cd901c3a77761726e696e6782a766656174757265a7696e7075742e78a3707369cb3fd3333333333333c0');
INSERT INTO edgeglm.alarm_events VALUES (2, 'main', 1799999991000, 2, 6, '\x99ac6d6f64656c2d6c6f61646564a46d61696eb030303030303030303030303030303030cf000001a3185c2cd801c3a77761726e696e6782a766656174757265a7696e7075742e78a3707369cb3fd3333333333333c0');
INSERT INTO edgeglm.alarm_events VALUES (2, 'main', 1799999991001, 2, 7, '\x99ac64726966742d726169736564a46d61696eb030303030303030303030303030303030cf000001a3185c2cd901c3a77761726e696e6782a766656174757265a7696e7075742e78a3707369cb3fd3333333333333c0');
INSERT INTO edgeglm.alarm_events VALUES (3, 'main', 1799999991000, 3, 6, '\x99ac6d6f64656c2d6c6f61646564a46d61696eb030303030303030303030303030303030cf000001a3185c2cd801c3a77761726e696e6782a766656174757265a7696e7075742e78a3707369cb3fd3333333333333c0');
INSERT INTO edgeglm.alarm_events VALUES (3, 'main', 1799999991001, 3, 7, '\x99ac64726966742d726169736564a46d61696eb030303030303030303030303030303030cf000001a3185c2cd901c3a77761726e696e6782a766656174757265a7696e7075742e78a3707369cb3fd3333333333333c0');
INSERT INTO edgeglm.counters VALUES ('first_day', 20798);
INSERT INTO edgeglm.counters VALUES ('poison', 3);
INSERT INTO edgeglm.devices OVERRIDING SYSTEM VALUE VALUES (1, 'works', 'press-1', '1f', 1800000000000, 1800000000000, '\x7b22736368656d61223a312c22646576696365223a2270726573732d31222c22626f6f745f6964223a22626f6f74222c2273657373696f6e223a227331222c226f6e6c696e65223a747275652c2273696e63655f6d73223a313830303030303030303030302c22636c6f636b5f73796e6368726f6e69736564223a747275657d', 1800000000000);
INSERT INTO edgeglm.devices OVERRIDING SYSTEM VALUE VALUES (2, 'works', 'press-2', '21', 1800000000000, 1800000000000, '\x7b22736368656d61223a312c22646576696365223a2270726573732d32222c22626f6f745f6964223a22626f6f74222c2273657373696f6e223a227331222c226f6e6c696e65223a747275652c2273696e63655f6d73223a313830303030303030303030302c22636c6f636b5f73796e6368726f6e69736564223a747275657d', 1800000000000);
INSERT INTO edgeglm.devices OVERRIDING SYSTEM VALUE VALUES (3, 'yard', 'gate-1', '96', 1800000000000, 1800000000000, '\x7b22736368656d61223a312c22646576696365223a22676174652d31222c22626f6f745f6964223a22626f6f74222c2273657373696f6e223a227331222c226f6e6c696e65223a747275652c2273696e63655f6d73223a313830303030303030303030302c22636c6f636b5f73796e6368726f6e69736564223a747275657d', 1800000000000);
INSERT INTO edgeglm.events_20270115 VALUES (1799999991000, 1, 1, 6, 1800000000000, 'main', 'model-loaded', 'warning', '\x99ac6d6f64656c2d6c6f61646564a46d61696eb030303030303030303030303030303030cf000001a3185c2cd801c3a77761726e696e6782a766656174757265a7696e7075742e78a3707369cb3fd3333333333333c0');
INSERT INTO edgeglm.events_20270115 VALUES (1799999991001, 1, 1, 7, 1800000000000, 'main', 'drift-raised', 'warning', '\x99ac64726966742d726169736564a46d61696eb030303030303030303030303030303030cf000001a3185c2cd901c3a77761726e696e6782a766656174757265a7696e7075742e78a3707369cb3fd3333333333333c0');
INSERT INTO edgeglm.events_20270115 VALUES (1799999991002, 1, 1, 8, 1800000000000, 'main', 'throttled', 'warning', '\x99a97468726f74746c6564a46d61696eb030303030303030303030303030303030cf000001a3185c2cda01c3a77761726e696e6782a766656174757265a7696e7075742e78a3707369cb3fd3333333333333c0');
INSERT INTO edgeglm.events_20270115 VALUES (1799999991000, 2, 2, 6, 1800000000000, 'main', 'model-loaded', 'warning', '\x99ac6d6f64656c2d6c6f61646564a46d61696eb030303030303030303030303030303030cf000001a3185c2cd801c3a77761726e696e6782a766656174757265a7696e7075742e78a3707369cb3fd3333333333333c0');
INSERT INTO edgeglm.events_20270115 VALUES (1799999991001, 2, 2, 7, 1800000000000, 'main', 'drift-raised', 'warning', '\x99ac64726966742d726169736564a46d61696eb030303030303030303030303030303030cf000001a3185c2cd901c3a77761726e696e6782a766656174757265a7696e7075742e78a3707369cb3fd3333333333333c0');
INSERT INTO edgeglm.events_20270115 VALUES (1799999991002, 2, 2, 8, 1800000000000, 'main', 'throttled', 'warning', '\x99a97468726f74746c6564a46d61696eb030303030303030303030303030303030cf000001a3185c2cda01c3a77761726e696e6782a766656174757265a7696e7075742e78a3707369cb3fd3333333333333c0');
INSERT INTO edgeglm.events_20270115 VALUES (1799999991000, 3, 3, 6, 1800000000000, 'main', 'model-loaded', 'warning', '\x99ac6d6f64656c2d6c6f61646564a46d61696eb030303030303030303030303030303030cf000001a3185c2cd801c3a77761726e696e6782a766656174757265a7696e7075742e78a3707369cb3fd3333333333333c0');
INSERT INTO edgeglm.events_20270115 VALUES (1799999991001, 3, 3, 7, 1800000000000, 'main', 'drift-raised', 'warning', '\x99ac64726966742d726169736564a46d61696eb030303030303030303030303030303030cf000001a3185c2cd901c3a77761726e696e6782a766656174757265a7696e7075742e78a3707369cb3fd3333333333333c0');
INSERT INTO edgeglm.events_20270115 VALUES (1799999991002, 3, 3, 8, 1800000000000, 'main', 'throttled', 'warning', '\x99a97468726f74746c6564a46d61696eb030303030303030303030303030303030cf000001a3185c2cda01c3a77761726e696e6782a766656174757265a7696e7075742e78a3707369cb3fd3333333333333c0');
INSERT INTO edgeglm.gaps_20270115 VALUES (1800000000000, 1, 1, 10, 1800000000000, 'quota', 2, '\x93a571756f7461c402140281a657696e646f7702');
INSERT INTO edgeglm.gaps_20270115 VALUES (1800000000000, 2, 2, 10, 1800000000000, 'quota', 2, '\x93a571756f7461c402140281a657696e646f7702');
INSERT INTO edgeglm.gaps_20270115 VALUES (1800000000000, 3, 3, 10, 1800000000000, 'quota', 2, '\x93a571756f7461c402140281a657696e646f7702');
INSERT INTO edgeglm.latest VALUES (1, 'main', 1800000000000, 1800000000000, '\xdc0013a46d61696e01b030303030303030303030303030303030cd1388ce000aae60cd03e8c20380c400c400c0c0c0c4008090c001');
INSERT INTO edgeglm.latest VALUES (2, 'main', 1800000000000, 1800000000000, '\xdc0013a46d61696e01b030303030303030303030303030303030cd1388ce000aae60cd03e8c20380c400c400c0c0c0c4008090c001');
INSERT INTO edgeglm.latest VALUES (3, 'main', 1800000000000, 1800000000000, '\xdc0013a46d61696e01b030303030303030303030303030303030cd1388ce000aae60cd03e8c20380c400c400c0c0c0c4008090c001');
INSERT INTO edgeglm.others_20270115 VALUES (1800000001000, 1, 1, 30, 1800000001000, 7, '\x94a26f66a161a56c61746572a776657273696f6e');
INSERT INTO edgeglm.others_20270115 VALUES (1800000001000, 2, 2, 30, 1800000001000, 7, '\x94a26f66a161a56c61746572a776657273696f6e');
INSERT INTO edgeglm.others_20270115 VALUES (1800000001000, 3, 3, 30, 1800000001000, 7, '\x94a26f66a161a56c61746572a776657273696f6e');
INSERT INTO edgeglm.placed VALUES (1, 10, 1800000000000);
INSERT INTO edgeglm.placed VALUES (1, 11, 1800000000000);
INSERT INTO edgeglm.placed VALUES (1, 30, 1800000001000);
INSERT INTO edgeglm.placed VALUES (2, 10, 1800000000000);
INSERT INTO edgeglm.placed VALUES (2, 11, 1800000000000);
INSERT INTO edgeglm.placed VALUES (2, 30, 1800000001000);
INSERT INTO edgeglm.placed VALUES (3, 10, 1800000000000);
INSERT INTO edgeglm.placed VALUES (3, 11, 1800000000000);
INSERT INTO edgeglm.placed VALUES (3, 30, 1800000001000);
INSERT INTO edgeglm.poison OVERRIDING SYSTEM VALUE VALUES (1, 'a/topic/0', 'no batch', '\x3f', 1800000000000);
INSERT INTO edgeglm.poison OVERRIDING SYSTEM VALUE VALUES (2, 'a/topic/1', 'no batch', '\x3f', 1800000000000);
INSERT INTO edgeglm.poison OVERRIDING SYSTEM VALUE VALUES (3, 'a/topic/2', 'no batch', '\x3f', 1800000000000);
INSERT INTO edgeglm.replies OVERRIDING SYSTEM VALUE VALUES (1, 1, 'ops-1', 1800000000000, '\x7b22736368656d61223a312c226964223a226f70732d31222c226f70223a2270696e67222c226f6b223a747275657d');
INSERT INTO edgeglm.replies OVERRIDING SYSTEM VALUE VALUES (2, 2, 'ops-1', 1800000000000, '\x7b22736368656d61223a312c226964223a226f70732d31222c226f70223a2270696e67222c226f6b223a747275657d');
INSERT INTO edgeglm.replies OVERRIDING SYSTEM VALUE VALUES (3, 3, 'ops-1', 1800000000000, '\x7b22736368656d61223a312c226964223a226f70732d31222c226f70223a2270696e67222c226f6b223a747275657d');
INSERT INTO edgeglm.results_20270115 VALUES (1799999995000, 1, 1, 9, 1800000000000, 'main', '\x96a46d61696e01b030303030303030303030303030303030cf000001a3185c3c78c4107b22636c617373223a2022636174227dc400');
INSERT INTO edgeglm.results_20270115 VALUES (1799999995000, 2, 2, 9, 1800000000000, 'main', '\x96a46d61696e01b030303030303030303030303030303030cf000001a3185c3c78c4107b22636c617373223a2022636174227dc400');
INSERT INTO edgeglm.results_20270115 VALUES (1799999995000, 3, 3, 9, 1800000000000, 'main', '\x96a46d61696e01b030303030303030303030303030303030cf000001a3185c3c78c4107b22636c617373223a2022636174227dc400');
INSERT INTO edgeglm.schema_version VALUES (3);
INSERT INTO edgeglm.streams OVERRIDING SYSTEM VALUE VALUES (1, 1, '\x65706f63682d2d30', NULL, 11, '\x14020801', '\x1402', 1800000001000, 12, 1, 0, 0, 2, 1800000000000, -8998);
INSERT INTO edgeglm.streams OVERRIDING SYSTEM VALUE VALUES (2, 2, '\x65706f63682d2d31', NULL, 11, '\x14020801', '\x1402', 1800000001000, 12, 1, 0, 0, 2, 1800000000000, -8998);
INSERT INTO edgeglm.streams OVERRIDING SYSTEM VALUE VALUES (3, 3, '\x65706f63682d2d32', NULL, 11, '\x14020801', '\x1402', 1800000001000, 12, 1, 0, 0, 2, 1800000000000, -8998);
INSERT INTO edgeglm.windows_20270115 VALUES (1799999460000, 1, 1, 1, 1800000000000, 'main', 60000, 5, 1, NULL, NULL, 300, '\xdc0013a46d61696e01b030303030303030303030303030303030cf000001a3185412a0cdea60cdea60c30581a372756e01c40e4801001301000e01000a01000801c400c0c0c0c400809194a7696e7075742e78cd012c5a32c001');
INSERT INTO edgeglm.windows_20270115 VALUES (1799999520000, 1, 1, 2, 1800000000000, 'main', 60000, 5, 1, NULL, NULL, 300, '\xdc0013a46d61696e01b030303030303030303030303030303030cf000001a31854fd00ce0001d4c0cdea60c30581a372756e01c40e4801001301000e01001301000e01c400c0c0c0c400809194a7696e7075742e78cd012c5a32c001');
INSERT INTO edgeglm.windows_20270115 VALUES (1799999580000, 1, 1, 3, 1800000000000, 'main', 60000, 5, 1, NULL, NULL, 300, '\xdc0013a46d61696e01b030303030303030303030303030303030cf000001a31855e760ce0002bf20cdea60c30581a372756e01c40e4801002201000a01001001000601c400c0c0c0c400809194a7696e7075742e78cd012c5a32c001');
INSERT INTO edgeglm.windows_20270115 VALUES (1799999640000, 1, 1, 4, 1800000000000, 'main', 60000, 5, 1, NULL, NULL, 300, '\xdc0013a46d61696e01b030303030303030303030303030303030cf000001a31856d1c0ce0003a980cdea60c30581a372756e01c40e4801001301000e01001301000701c400c0c0c0c400809194a7696e7075742e78cd012c5a32c001');
INSERT INTO edgeglm.windows_20270115 VALUES (1799999700000, 1, 1, 5, 1800000000000, 'main', 60000, 5, 1, NULL, NULL, 300, '\xdc0013a46d61696e01b030303030303030303030303030303030cf000001a31857bc20ce000493e0cdea60c30581a372756e01c40e4801001301001901001001000601c400c0c0c0c400809194a7696e7075742e78cd012c5a32c001');
INSERT INTO edgeglm.windows_20270115 VALUES (1800000000000, 1, 1, 11, 1800000000000, 'main', 1000, 3, 0, NULL, NULL, NULL, '\xdc0013a46d61696e01b030303030303030303030303030303030cd1388ce000aae60cd03e8c20380c400c400c0c0c0c4008090c001');
INSERT INTO edgeglm.windows_20270115 VALUES (1799999460000, 2, 2, 1, 1800000000000, 'main', 60000, 5, 1, NULL, NULL, 300, '\xdc0013a46d61696e01b030303030303030303030303030303030cf000001a3185412a0cdea60cdea60c30581a372756e01c40e7001000e01000a01000801000701c400c0c0c0c400809194a7696e7075742e78cd012c5a32c001');
INSERT INTO edgeglm.windows_20270115 VALUES (1799999520000, 2, 2, 2, 1800000000000, 'main', 60000, 5, 1, NULL, NULL, 300, '\xdc0013a46d61696e01b030303030303030303030303030303030cf000001a31854fd00ce0001d4c0cdea60c30581a372756e01c40e7001000e01000a01001001000b01c400c0c0c0c400809194a7696e7075742e78cd012c5a32c001');
INSERT INTO edgeglm.windows_20270115 VALUES (1799999580000, 2, 2, 3, 1800000000000, 'main', 60000, 5, 1, NULL, NULL, 300, '\xdc0013a46d61696e01b030303030303030303030303030303030cf000001a31855e760ce0002bf20cdea60c30581a372756e01c40e7001001901000801000e01000401c400c0c0c0c400809194a7696e7075742e78cd012c5a32c001');
INSERT INTO edgeglm.windows_20270115 VALUES (1799999640000, 2, 2, 4, 1800000000000, 'main', 60000, 5, 1, NULL, NULL, 300, '\xdc0013a46d61696e01b030303030303030303030303030303030cf000001a31856d1c0ce0003a980cdea60c30581a372756e01c40e7001000e01000a01001001000601c400c0c0c0c400809194a7696e7075742e78cd012c5a32c001');
INSERT INTO edgeglm.windows_20270115 VALUES (1799999700000, 2, 2, 5, 1800000000000, 'main', 60000, 5, 1, NULL, NULL, 300, '\xdc0013a46d61696e01b030303030303030303030303030303030cf000001a31857bc20ce000493e0cdea60c30581a372756e01c40e7001000e01001301000e01000401c400c0c0c0c400809194a7696e7075742e78cd012c5a32c001');
INSERT INTO edgeglm.windows_20270115 VALUES (1800000000000, 2, 2, 11, 1800000000000, 'main', 1000, 3, 0, NULL, NULL, NULL, '\xdc0013a46d61696e01b030303030303030303030303030303030cd1388ce000aae60cd03e8c20380c400c400c0c0c0c4008090c001');
INSERT INTO edgeglm.windows_20270115 VALUES (1799999460000, 3, 3, 1, 1800000000000, 'main', 60000, 5, 1, NULL, NULL, 300, '\xdc0013a46d61696e01b030303030303030303030303030303030cf000001a3185412a0cdea60cdea60c30581a372756e01c40f8e0101000a01000801000701000601c400c0c0c0c400809194a7696e7075742e78cd012c5a32c001');
INSERT INTO edgeglm.windows_20270115 VALUES (1799999520000, 3, 3, 2, 1800000000000, 'main', 60000, 5, 1, NULL, NULL, 300, '\xdc0013a46d61696e01b030303030303030303030303030303030cf000001a31854fd00ce0001d4c0cdea60c30581a372756e01c40f8e0101000a01000801000e01000a01c400c0c0c0c400809194a7696e7075742e78cd012c5a32c001');
INSERT INTO edgeglm.windows_20270115 VALUES (1799999580000, 3, 3, 3, 1800000000000, 'main', 60000, 5, 1, NULL, NULL, 300, '\xdc0013a46d61696e01b030303030303030303030303030303030cf000001a31855e760ce0002bf20cdea60c30581a372756e01c40f8e0101001301000701000b01000501c400c0c0c0c400809194a7696e7075742e78cd012c5a32c001');
INSERT INTO edgeglm.windows_20270115 VALUES (1799999640000, 3, 3, 4, 1800000000000, 'main', 60000, 5, 1, NULL, NULL, 300, '\xdc0013a46d61696e01b030303030303030303030303030303030cf000001a31856d1c0ce0003a980cdea60c30581a372756e01c40f8e0101000a01000801000e01000401c400c0c0c0c400809194a7696e7075742e78cd012c5a32c001');
INSERT INTO edgeglm.windows_20270115 VALUES (1799999700000, 3, 3, 5, 1800000000000, 'main', 60000, 5, 1, NULL, NULL, 300, '\xdc0013a46d61696e01b030303030303030303030303030303030cf000001a31857bc20ce000493e0cdea60c30581a372756e01c40f8e0101000a01001001000b01000501c400c0c0c0c400809194a7696e7075742e78cd012c5a32c001');
INSERT INTO edgeglm.windows_20270115 VALUES (1800000000000, 3, 3, 11, 1800000000000, 'main', 1000, 3, 0, NULL, NULL, NULL, '\xdc0013a46d61696e01b030303030303030303030303030303030cd1388ce000aae60cd03e8c20380c400c400c0c0c0c4008090c001');
SELECT pg_catalog.setval('edgeglm.devices_id_seq', 3, true);
SELECT pg_catalog.setval('edgeglm.poison_id_seq', 3, true);
SELECT pg_catalog.setval('edgeglm.replies_id_seq', 3, true);
SELECT pg_catalog.setval('edgeglm.streams_id_seq', 3, true);
ALTER TABLE ONLY edgeglm.alarm_events
    ADD CONSTRAINT alarm_events_pkey PRIMARY KEY (device, slot, at_ms, stream, sequence);
ALTER TABLE ONLY edgeglm.counters
    ADD CONSTRAINT counters_pkey PRIMARY KEY (name);
ALTER TABLE ONLY edgeglm.devices
    ADD CONSTRAINT devices_fleet_name_key UNIQUE (fleet, name);
ALTER TABLE ONLY edgeglm.devices
    ADD CONSTRAINT devices_pkey PRIMARY KEY (id);
ALTER TABLE ONLY edgeglm.events
    ADD CONSTRAINT events_pkey PRIMARY KEY (at_ms, device, stream, sequence);
ALTER TABLE ONLY edgeglm.events_20270115
    ADD CONSTRAINT events_20270115_pkey PRIMARY KEY (at_ms, device, stream, sequence);
ALTER TABLE ONLY edgeglm.events_20270116
    ADD CONSTRAINT events_20270116_pkey PRIMARY KEY (at_ms, device, stream, sequence);
ALTER TABLE ONLY edgeglm.events_20270117
    ADD CONSTRAINT events_20270117_pkey PRIMARY KEY (at_ms, device, stream, sequence);
ALTER TABLE ONLY edgeglm.events_before
    ADD CONSTRAINT events_before_pkey PRIMARY KEY (at_ms, device, stream, sequence);
ALTER TABLE ONLY edgeglm.forgotten
    ADD CONSTRAINT forgotten_pkey PRIMARY KEY (fleet, name);
ALTER TABLE ONLY edgeglm.gaps
    ADD CONSTRAINT gaps_pkey PRIMARY KEY (at_ms, device, stream, sequence);
ALTER TABLE ONLY edgeglm.gaps_20270115
    ADD CONSTRAINT gaps_20270115_pkey PRIMARY KEY (at_ms, device, stream, sequence);
ALTER TABLE ONLY edgeglm.gaps_20270116
    ADD CONSTRAINT gaps_20270116_pkey PRIMARY KEY (at_ms, device, stream, sequence);
ALTER TABLE ONLY edgeglm.gaps_20270117
    ADD CONSTRAINT gaps_20270117_pkey PRIMARY KEY (at_ms, device, stream, sequence);
ALTER TABLE ONLY edgeglm.gaps_before
    ADD CONSTRAINT gaps_before_pkey PRIMARY KEY (at_ms, device, stream, sequence);
ALTER TABLE ONLY edgeglm.hour_sums
    ADD CONSTRAINT hour_sums_pkey PRIMARY KEY (device, hour, slot);
ALTER TABLE ONLY edgeglm.hourly_days
    ADD CONSTRAINT hourly_days_pkey PRIMARY KEY (day);
ALTER TABLE ONLY edgeglm.late_hours
    ADD CONSTRAINT late_hours_pkey PRIMARY KEY (device, hour);
ALTER TABLE ONLY edgeglm.latest
    ADD CONSTRAINT latest_pkey PRIMARY KEY (device, slot);
ALTER TABLE ONLY edgeglm.others
    ADD CONSTRAINT others_pkey PRIMARY KEY (device, at_ms, stream, sequence);
ALTER TABLE ONLY edgeglm.others_20270115
    ADD CONSTRAINT others_20270115_pkey PRIMARY KEY (device, at_ms, stream, sequence);
ALTER TABLE ONLY edgeglm.others_20270116
    ADD CONSTRAINT others_20270116_pkey PRIMARY KEY (device, at_ms, stream, sequence);
ALTER TABLE ONLY edgeglm.others_20270117
    ADD CONSTRAINT others_20270117_pkey PRIMARY KEY (device, at_ms, stream, sequence);
ALTER TABLE ONLY edgeglm.others_before
    ADD CONSTRAINT others_before_pkey PRIMARY KEY (device, at_ms, stream, sequence);
ALTER TABLE ONLY edgeglm.placed
    ADD CONSTRAINT placed_pkey PRIMARY KEY (stream, sequence);
ALTER TABLE ONLY edgeglm.poison
    ADD CONSTRAINT poison_pkey PRIMARY KEY (id);
ALTER TABLE ONLY edgeglm.removed
    ADD CONSTRAINT removed_pkey PRIMARY KEY (source);
ALTER TABLE ONLY edgeglm.replies
    ADD CONSTRAINT replies_device_request_key UNIQUE (device, request);
ALTER TABLE ONLY edgeglm.replies
    ADD CONSTRAINT replies_pkey PRIMARY KEY (id);
ALTER TABLE ONLY edgeglm.results
    ADD CONSTRAINT results_pkey PRIMARY KEY (device, at_ms, stream, sequence);
ALTER TABLE ONLY edgeglm.results_20270115
    ADD CONSTRAINT results_20270115_pkey PRIMARY KEY (device, at_ms, stream, sequence);
ALTER TABLE ONLY edgeglm.results_20270116
    ADD CONSTRAINT results_20270116_pkey PRIMARY KEY (device, at_ms, stream, sequence);
ALTER TABLE ONLY edgeglm.results_20270117
    ADD CONSTRAINT results_20270117_pkey PRIMARY KEY (device, at_ms, stream, sequence);
ALTER TABLE ONLY edgeglm.results_before
    ADD CONSTRAINT results_before_pkey PRIMARY KEY (device, at_ms, stream, sequence);
ALTER TABLE ONLY edgeglm.streams
    ADD CONSTRAINT streams_device_epoch_key UNIQUE (device, epoch);
ALTER TABLE ONLY edgeglm.streams
    ADD CONSTRAINT streams_pkey PRIMARY KEY (id);
ALTER TABLE ONLY edgeglm.windows
    ADD CONSTRAINT windows_pkey PRIMARY KEY (device, at_ms, stream, sequence);
ALTER TABLE ONLY edgeglm.windows_20270115
    ADD CONSTRAINT windows_20270115_pkey PRIMARY KEY (device, at_ms, stream, sequence);
ALTER TABLE ONLY edgeglm.windows_20270116
    ADD CONSTRAINT windows_20270116_pkey PRIMARY KEY (device, at_ms, stream, sequence);
ALTER TABLE ONLY edgeglm.windows_20270117
    ADD CONSTRAINT windows_20270117_pkey PRIMARY KEY (device, at_ms, stream, sequence);
ALTER TABLE ONLY edgeglm.windows_before
    ADD CONSTRAINT windows_before_pkey PRIMARY KEY (device, at_ms, stream, sequence);
CREATE INDEX events_device ON ONLY edgeglm.events USING btree (device, at_ms);
CREATE INDEX events_20270115_device_at_ms_idx ON edgeglm.events_20270115 USING btree (device, at_ms);
CREATE INDEX events_received ON ONLY edgeglm.events USING btree (received_ms);
CREATE INDEX events_20270115_received_ms_idx ON edgeglm.events_20270115 USING btree (received_ms);
CREATE INDEX events_20270116_device_at_ms_idx ON edgeglm.events_20270116 USING btree (device, at_ms);
CREATE INDEX events_20270116_received_ms_idx ON edgeglm.events_20270116 USING btree (received_ms);
CREATE INDEX events_20270117_device_at_ms_idx ON edgeglm.events_20270117 USING btree (device, at_ms);
CREATE INDEX events_20270117_received_ms_idx ON edgeglm.events_20270117 USING btree (received_ms);
CREATE INDEX events_before_device_at_ms_idx ON edgeglm.events_before USING btree (device, at_ms);
CREATE INDEX events_before_received_ms_idx ON edgeglm.events_before USING btree (received_ms);
CREATE INDEX gaps_device ON ONLY edgeglm.gaps USING btree (device, at_ms);
CREATE INDEX gaps_20270115_device_at_ms_idx ON edgeglm.gaps_20270115 USING btree (device, at_ms);
CREATE INDEX gaps_20270116_device_at_ms_idx ON edgeglm.gaps_20270116 USING btree (device, at_ms);
CREATE INDEX gaps_20270117_device_at_ms_idx ON edgeglm.gaps_20270117 USING btree (device, at_ms);
CREATE INDEX gaps_before_device_at_ms_idx ON edgeglm.gaps_before USING btree (device, at_ms);
CREATE INDEX hour_sums_hour ON edgeglm.hour_sums USING btree (hour);
CREATE INDEX results_time ON ONLY edgeglm.results USING brin (at_ms) WITH (autosummarize='on');
CREATE INDEX results_20270115_at_ms_idx ON edgeglm.results_20270115 USING brin (at_ms) WITH (autosummarize='on');
CREATE INDEX results_20270116_at_ms_idx ON edgeglm.results_20270116 USING brin (at_ms) WITH (autosummarize='on');
CREATE INDEX results_20270117_at_ms_idx ON edgeglm.results_20270117 USING brin (at_ms) WITH (autosummarize='on');
CREATE INDEX results_before_at_ms_idx ON edgeglm.results_before USING brin (at_ms) WITH (autosummarize='on');
CREATE INDEX windows_time ON ONLY edgeglm.windows USING brin (at_ms) WITH (autosummarize='on');
CREATE INDEX windows_20270115_at_ms_idx ON edgeglm.windows_20270115 USING brin (at_ms) WITH (autosummarize='on');
CREATE INDEX windows_20270116_at_ms_idx ON edgeglm.windows_20270116 USING brin (at_ms) WITH (autosummarize='on');
CREATE INDEX windows_20270117_at_ms_idx ON edgeglm.windows_20270117 USING brin (at_ms) WITH (autosummarize='on');
CREATE INDEX windows_before_at_ms_idx ON edgeglm.windows_before USING brin (at_ms) WITH (autosummarize='on');
ALTER INDEX edgeglm.events_device ATTACH PARTITION edgeglm.events_20270115_device_at_ms_idx;
ALTER INDEX edgeglm.events_pkey ATTACH PARTITION edgeglm.events_20270115_pkey;
ALTER INDEX edgeglm.events_received ATTACH PARTITION edgeglm.events_20270115_received_ms_idx;
ALTER INDEX edgeglm.events_device ATTACH PARTITION edgeglm.events_20270116_device_at_ms_idx;
ALTER INDEX edgeglm.events_pkey ATTACH PARTITION edgeglm.events_20270116_pkey;
ALTER INDEX edgeglm.events_received ATTACH PARTITION edgeglm.events_20270116_received_ms_idx;
ALTER INDEX edgeglm.events_device ATTACH PARTITION edgeglm.events_20270117_device_at_ms_idx;
ALTER INDEX edgeglm.events_pkey ATTACH PARTITION edgeglm.events_20270117_pkey;
ALTER INDEX edgeglm.events_received ATTACH PARTITION edgeglm.events_20270117_received_ms_idx;
ALTER INDEX edgeglm.events_device ATTACH PARTITION edgeglm.events_before_device_at_ms_idx;
ALTER INDEX edgeglm.events_pkey ATTACH PARTITION edgeglm.events_before_pkey;
ALTER INDEX edgeglm.events_received ATTACH PARTITION edgeglm.events_before_received_ms_idx;
ALTER INDEX edgeglm.gaps_device ATTACH PARTITION edgeglm.gaps_20270115_device_at_ms_idx;
ALTER INDEX edgeglm.gaps_pkey ATTACH PARTITION edgeglm.gaps_20270115_pkey;
ALTER INDEX edgeglm.gaps_device ATTACH PARTITION edgeglm.gaps_20270116_device_at_ms_idx;
ALTER INDEX edgeglm.gaps_pkey ATTACH PARTITION edgeglm.gaps_20270116_pkey;
ALTER INDEX edgeglm.gaps_device ATTACH PARTITION edgeglm.gaps_20270117_device_at_ms_idx;
ALTER INDEX edgeglm.gaps_pkey ATTACH PARTITION edgeglm.gaps_20270117_pkey;
ALTER INDEX edgeglm.gaps_device ATTACH PARTITION edgeglm.gaps_before_device_at_ms_idx;
ALTER INDEX edgeglm.gaps_pkey ATTACH PARTITION edgeglm.gaps_before_pkey;
ALTER INDEX edgeglm.others_pkey ATTACH PARTITION edgeglm.others_20270115_pkey;
ALTER INDEX edgeglm.others_pkey ATTACH PARTITION edgeglm.others_20270116_pkey;
ALTER INDEX edgeglm.others_pkey ATTACH PARTITION edgeglm.others_20270117_pkey;
ALTER INDEX edgeglm.others_pkey ATTACH PARTITION edgeglm.others_before_pkey;
ALTER INDEX edgeglm.results_time ATTACH PARTITION edgeglm.results_20270115_at_ms_idx;
ALTER INDEX edgeglm.results_pkey ATTACH PARTITION edgeglm.results_20270115_pkey;
ALTER INDEX edgeglm.results_time ATTACH PARTITION edgeglm.results_20270116_at_ms_idx;
ALTER INDEX edgeglm.results_pkey ATTACH PARTITION edgeglm.results_20270116_pkey;
ALTER INDEX edgeglm.results_time ATTACH PARTITION edgeglm.results_20270117_at_ms_idx;
ALTER INDEX edgeglm.results_pkey ATTACH PARTITION edgeglm.results_20270117_pkey;
ALTER INDEX edgeglm.results_time ATTACH PARTITION edgeglm.results_before_at_ms_idx;
ALTER INDEX edgeglm.results_pkey ATTACH PARTITION edgeglm.results_before_pkey;
ALTER INDEX edgeglm.windows_time ATTACH PARTITION edgeglm.windows_20270115_at_ms_idx;
ALTER INDEX edgeglm.windows_pkey ATTACH PARTITION edgeglm.windows_20270115_pkey;
ALTER INDEX edgeglm.windows_time ATTACH PARTITION edgeglm.windows_20270116_at_ms_idx;
ALTER INDEX edgeglm.windows_pkey ATTACH PARTITION edgeglm.windows_20270116_pkey;
ALTER INDEX edgeglm.windows_time ATTACH PARTITION edgeglm.windows_20270117_at_ms_idx;
ALTER INDEX edgeglm.windows_pkey ATTACH PARTITION edgeglm.windows_20270117_pkey;
ALTER INDEX edgeglm.windows_time ATTACH PARTITION edgeglm.windows_before_at_ms_idx;
ALTER INDEX edgeglm.windows_pkey ATTACH PARTITION edgeglm.windows_before_pkey;
ALTER TABLE ONLY edgeglm.alarm_events
    ADD CONSTRAINT alarm_events_device_fkey FOREIGN KEY (device) REFERENCES edgeglm.devices(id) ON DELETE CASCADE;
ALTER TABLE ONLY edgeglm.hour_sums
    ADD CONSTRAINT hour_sums_device_fkey FOREIGN KEY (device) REFERENCES edgeglm.devices(id) ON DELETE CASCADE;
ALTER TABLE ONLY edgeglm.late_hours
    ADD CONSTRAINT late_hours_device_fkey FOREIGN KEY (device) REFERENCES edgeglm.devices(id) ON DELETE CASCADE;
ALTER TABLE ONLY edgeglm.latest
    ADD CONSTRAINT latest_device_fkey FOREIGN KEY (device) REFERENCES edgeglm.devices(id) ON DELETE CASCADE;
ALTER TABLE ONLY edgeglm.placed
    ADD CONSTRAINT placed_stream_fkey FOREIGN KEY (stream) REFERENCES edgeglm.streams(id) ON DELETE CASCADE;
ALTER TABLE ONLY edgeglm.replies
    ADD CONSTRAINT replies_device_fkey FOREIGN KEY (device) REFERENCES edgeglm.devices(id) ON DELETE CASCADE;
ALTER TABLE ONLY edgeglm.streams
    ADD CONSTRAINT streams_device_fkey FOREIGN KEY (device) REFERENCES edgeglm.devices(id) ON DELETE CASCADE;
