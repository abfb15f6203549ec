#!/bin/sh
# Build Dockerfile.arm64 by emulation, without a registry: arm64_image.sh FOLDER. As root. It leaves FOLDER/image.tar,
# its layers uncompressed, the base's first, and keeps the base in FOLDER/base while nothing it is made of changes.
set -eu
folder=$1
cd "$(dirname "$0")/.."
# the kernel starts programs for arm64 with qemu: the entry of Debian's package, where no service has made it
binfmt=/proc/sys/fs/binfmt_misc
[ -e $binfmt/register ] || mount -t binfmt_misc binfmt_misc $binfmt
[ -e $binfmt/qemu-aarch64 ] || cat /usr/lib/binfmt.d/qemu-aarch64.conf >$binfmt/register
base=$folder/base
made_of=$(sha256sum <scripts/arm64_image.sh)
if [ "$(cat "$base/made-of" 2>/dev/null)" != "$made_of" ]; then
    rm -rf "$base"
    mkdir -p "$base"
    # what a slim image of Debian with Python has; nothing is configured, since that takes minutes when emulated
    mmdebstrap --quiet --architectures=arm64 --variant=extract --dpkgopt='path-exclude=/usr/share/doc/*' \
        --include=base-files,coreutils,dash,findutils,grep,sed,tar,libstdc++6,python3,python3-venv bookworm "$base/tree"
    mkdir -p "$base/tree/etc/ssl/certs" "$base/tree/tmp" "$base/tree/root"
    chmod 1777 "$base/tree/tmp"
    cp -L /etc/ssl/certs/ca-certificates.crt "$base/tree/etc/ssl/certs/"
    echo "root:x:0:0:root:/root:/bin/sh" >"$base/tree/etc/passwd"
    echo "root:x:0:" >"$base/tree/etc/group"
    echo "$made_of" >"$base/made-of"
fi
export BUILDAH_ISOLATION=chroot REGISTRY_AUTH_FILE=/dev/null
buildah() { command buildah --root "$PWD/$folder/storage" --runroot "$PWD/$folder/run" "$@"; }
container=$(buildah from --arch arm64 scratch)
buildah add --quiet "$container" "$base/tree" / >/dev/null
buildah config --arch arm64 "$container"
buildah commit --quiet --rm "$container" localhost/edgeglm-base:arm64 >/dev/null
buildah build --quiet --platform linux/arm64 --pull=never --format docker \
    --build-arg BASE_IMAGE=localhost/edgeglm-base:arm64 -f Dockerfile.arm64 -t localhost/edgeglm-agent:arm64 . >/dev/null
rm -f "$folder/image.tar"
buildah push --quiet localhost/edgeglm-agent:arm64 "docker-archive:$folder/image.tar:edgeglm-agent:arm64"
buildah rmi --all --force >/dev/null
