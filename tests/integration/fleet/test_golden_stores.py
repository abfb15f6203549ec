"""Stores as every version made them: each is brought to this one, says the same, and goes on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeglm.errors import StoreError
from edgeglm.fleet.store import postgres_schema, sqlite_schema
from edgeglm.fleet.store.keeping import DAY_MS, Keeping
from edgeglm.fleet.store.opening import open_reader, open_store
from edgeglm.fleet.store.sqlite_tending import SqliteTending
from tests.support.fleet.golden_store import FOLDER, NOW, answers, arrivals, fill, load_sqlite
from tests.support.fleet.postgres import Postgres


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    server = Postgres()
    yield server
    server.remove()


@pytest.mark.parametrize("version", range(1, sqlite_schema.SCHEMA + 1))
def test_an_sqlite_store_of_every_version_says_what_it_did(version: int, tmp_path: Path) -> None:
    path = tmp_path / "golden.db"
    load_sqlite((FOLDER / f"fleet-sqlite-{version}.sql").read_text(encoding="utf-8"), path)
    _brought_up_to_date(f"sqlite:///{path}", f"sqlite:///{tmp_path}/new.db", older=version < sqlite_schema.SCHEMA)
    before = answers(f"sqlite:///{path}")
    assert SqliteTending(path, Keeping(), NOW + 3 * DAY_MS).run().compacted_rows > 0
    assert answers(f"sqlite:///{path}") == before


@pytest.mark.parametrize("version", range(1, postgres_schema.SCHEMA + 1))
def test_a_postgresql_store_of_every_version_says_what_it_did(version: int, postgres: Postgres) -> None:
    url = postgres.new_database()
    with postgres.connection(url) as db:
        db.execute((FOLDER / f"fleet-postgresql-{version}.sql").read_bytes())
    _brought_up_to_date(url, postgres.new_database(), older=version < postgres_schema.SCHEMA)


def _brought_up_to_date(url: str, new: str, *, older: bool) -> None:
    if older:
        with pytest.raises(StoreError) as caught:
            open_reader(url)
        assert caught.value.code == "store-older"
    store = open_store(url)
    fill(new)
    assert answers(url) == answers(new)
    for one in arrivals():
        done = store.commit(one)
        assert (done.new_rows, done.taken_back) == (0, 0), "it knows what it had"
    store.close()
