#!/bin/sh
# Install the system packages that tests need: a real browser and its driver. Root or sudo; else name them and stop.
set -eu
missing=""
command -v strace >/dev/null || missing="$missing strace"
command -v chromium >/dev/null || missing="$missing chromium"
command -v chromedriver >/dev/null || missing="$missing chromium-driver"
[ -n "$missing" ] || exit 0
if ! command -v apt-get >/dev/null; then
    echo "error: tests need these programs, and there is no apt here:$missing" >&2
    exit 4
fi
if [ "$(id -u)" = 0 ]; then sudo=""
elif sudo -n true 2>/dev/null; then sudo="sudo"
else
    echo "error: tests need these packages; install them and run again: apt-get install$missing" >&2
    exit 4
fi
echo "system: installing$missing"
export DEBIAN_FRONTEND=noninteractive
$sudo apt-get update -qq
# shellcheck disable=SC2086 # a list of package names
$sudo apt-get install -y -qq --no-install-recommends $missing >/dev/null
