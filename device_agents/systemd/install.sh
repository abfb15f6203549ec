#!/bin/sh
# Install the units and the agent's user: install.sh [--external-workers]. The agent itself is in /opt/edgeglm-agent.
# DESTDIR=folder installs into the tree of a board that does not run: an image, a card.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=${DESTDIR:-}
if [ "$#" -gt 1 ] || { [ "$#" = 1 ] && [ "$1" != --external-workers ]; }; then
    echo "usage: install.sh [--external-workers]" >&2
    exit 2
fi
if [ -z "$root" ] && [ "$(id -u)" != 0 ]; then
    echo "error: units are installed by root: sudo sh $0${1:+ $1}" >&2
    exit 2
fi
put() { install -D -m 644 "$here/$1" "$root$2"; }
put sysusers.conf /usr/lib/sysusers.d/edgeglm-agent.conf
put edgeglm-agent.service /etc/systemd/system/edgeglm-agent.service
put edgeglm-agent-worker@.service /etc/systemd/system/edgeglm-agent-worker@.service
drop_in=/etc/systemd/system/edgeglm-agent.service.d/external-workers.conf
if [ "${1:-}" = --external-workers ]; then put external-workers.conf "$drop_in"; else rm -f "$root$drop_in"; fi
systemd-sysusers ${root:+--root="$root"} "$root/usr/lib/sysusers.d/edgeglm-agent.conf"
# settings, passwords and keys: root writes them, the agent reads them, nobody else does
install -d -m 750 "$root/etc/edgeglm-agent"
group=$(sed -n 's/^edgeglm-agent:[^:]*:\([0-9]*\):.*/\1/p' "$root/etc/group")
[ "$(id -u)" != 0 ] || chgrp "$group" "$root/etc/edgeglm-agent"
[ -n "$root" ] || systemctl daemon-reload
echo "installed; next: /etc/edgeglm-agent/agent.toml, then systemctl enable --now edgeglm-agent"
