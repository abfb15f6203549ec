#!/bin/sh
# Make the files of a Debian arm64 system that boots in qemu: arm64_boot.sh FOLDER TREE. As root. FOLDER keeps the
# kernel (FOLDER/vmlinuz) and what TREE is a fresh copy of: systemd, Python 3.11, no more. Who has added to TREE boots
# it as an initramfs: (cd TREE && find . | cpio --quiet -o -H newc) >initrd
set -eu
folder=$1 tree=$2
cd "$(dirname "$0")/.."
made_of=$(sha256sum <scripts/arm64_boot.sh)
if [ "$(cat "$folder/made-of" 2>/dev/null)" != "$made_of" ]; then
    rm -rf "$folder"
    mkdir -p "$folder"
    # all of it lives in memory, so the kernel needs no module; nothing is configured, since that takes minutes here
    mmdebstrap --quiet --architectures=arm64 --variant=extract --hook-dir=/usr/share/mmdebstrap/hooks/merged-usr \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/lib/*/gconv/*' \
        --dpkgopt='path-exclude=/lib/modules/*' --dpkgopt='path-exclude=/usr/lib/linux-image-*' \
        --dpkgopt='path-exclude=/usr/lib/udev/hwdb.d/*' --dpkgopt='path-exclude=/lib/udev/hwdb.d/*' \
        --include=base-files,coreutils,dash,mount,sed,systemd,systemd-sysv,udev,python3.11,libstdc++6,linux-image-arm64 \
        bookworm "$folder/tree"
    cp "$folder"/tree/boot/vmlinuz-* "$folder/vmlinuz"
    rm -rf "$folder"/tree/boot/* "$folder"/tree/var/cache/apt "$folder"/tree/var/lib/apt
    echo "root:x:0:0:root:/root:/bin/sh" >"$folder/tree/etc/passwd"
    echo "root:x:0:" >"$folder/tree/etc/group"
    echo board >"$folder/tree/etc/hostname"
    echo 65646765676c6d4a6f8b6f6172643634 >"$folder/tree/etc/machine-id" # without one, this were its first boot
    echo "$made_of" >"$folder/made-of"
fi
rm -rf "$tree"
cp -a "$folder/tree" "$tree"
