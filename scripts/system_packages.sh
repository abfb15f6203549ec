#!/bin/sh
# Install the system packages that tests need; `full`: the long ones too. Root or sudo; else name them and stop.
set -eu
missing=""
need() { # program, package
    command -v "$1" >/dev/null || [ -x "/usr/sbin/$1" ] || missing="$missing $2"
}
need chromium chromium # a report is looked at in a real browser
need chromedriver chromium-driver
need mosquitto mosquitto # a real broker
ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || need initdb postgresql # Debian has its programs out of PATH
need iptables iptables # a network that loses packets
need ip iproute2
need unshare util-linux # namespaces: a network, and a small disk
need ffmpeg ffmpeg # cameras and streams
need gst-launch-1.0 "gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-good"
need qemu-system-x86_64 qemu-system-x86 # a machine with a camera (make test-full)
need busybox busybox-static
need strace strace # what a process opens
need systemd-analyze systemd # the agent's units
need qemu-aarch64-static qemu-user-static # the boards' processor
need mmdebstrap mmdebstrap # the boards' userland
if [ "${1:-}" = full ]; then
    need buildah buildah # the agent's image
    need crun crun
    need qemu-system-aarch64 qemu-system-arm # a board that boots
    need cpio cpio
fi
[ -n "$missing" ] || exit 0
if ! command -v apt-get >/dev/null; then
    echo "error: tests need these packages, and there is no apt here:$missing" >&2
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
