#!/bin/sh
# Make a board's userland for qemu-user in FOLDER: arm64_userland.sh SUITE FOLDER (bookworm has Python 3.11, trixie 3.13).
# Debian's Python, the agent's requirements as wheels for aarch64, and the cpuinfo of a Raspberry Pi 4: runtimes that
# see this machine's own crash. FOLDER is kept while nothing that it is made of changes. Run a program in it by
#   QEMU_CPU=cortex-a72 qemu-aarch64-static -L FOLDER FOLDER/usr/bin/python3.13 PROGRAM
set -eu
suite=$1 folder=$2 python=${PYTHON:-.venv/bin/python}
cd "$(dirname "$0")/.."
case $suite in
    bookworm) version=3.11 ;;
    trixie) version=3.13 ;;
    *) echo "error: no suite $suite: bookworm or trixie" >&2; exit 2 ;;
esac
mkdir -p "$(dirname "$folder")"
exec 9>"$folder.lock"
flock 9 # tests that run beside each other want the same one
made_of=$(cat scripts/arm64_userland.sh tests/arm64/cpuinfo constraints.txt device_agents/pyproject.toml | sha256sum)
[ "$(cat "$folder/made-of" 2>/dev/null)" != "$made_of" ] || exit 0
rm -rf "$folder"
mkdir -p "$folder"
mmdebstrap --quiet --architectures=arm64 --variant=extract --include="python$version,libstdc++6" \
    --dpkgopt='path-exclude=/usr/share/*' "$suite" "$folder"
# where /lib is one with /usr/lib, packages hold only the second: the loader is asked for by the first
[ -e "$folder/lib/ld-linux-aarch64.so.1" ] || ln -sfn usr/lib "$folder/lib"
mkdir -p "$folder/proc"
cp tests/arm64/cpuinfo "$folder/proc/cpuinfo"
# the agent itself is not among them: its modules are read where they are worked on
"$python" - >"$folder/requirements.txt" <<'END'
import tomllib

with open("device_agents/pyproject.toml", "rb") as file:
    project = tomllib.load(file)["project"]
extras = project["optional-dependencies"]
print(*project["dependencies"], *(line for name in ("onnx", "litert", "image", "text", "http") for line in extras[name]), sep="\n")
END
abi="cp$(echo "$version" | tr -d .)"
# pip takes a wheel for one of the platforms that are named, and no older one
"$python" -m pip install -q --disable-pip-version-check --target "$folder/opt/site" --no-compile --only-binary=:all: \
    --implementation cp --python-version "$version" --abi "$abi" --abi abi3 --abi none \
    --platform manylinux_2_28_aarch64 --platform manylinux_2_27_aarch64 --platform manylinux_2_26_aarch64 \
    --platform manylinux_2_24_aarch64 --platform manylinux_2_17_aarch64 --platform manylinux2014_aarch64 \
    -c constraints.txt -r "$folder/requirements.txt"
echo "$made_of" >"$folder/made-of"
