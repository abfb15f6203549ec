"""A Debian kernel in an emulated machine that sees this one's files, for devices that this one does not have."""

from __future__ import annotations

import gzip
import lzma
import os
import re
import shutil
import subprocess
from pathlib import Path

KERNEL = "linux-image-amd64"
_INIT = """#!/bin/busybox sh
B=/bin/busybox
$B mount -t proc p /proc; $B mount -t sysfs s /sys; $B mount -t devtmpfs d /dev
for m in /m/*.ko; do $B insmod $m {options} || echo "cannot load $m"; done 2>/dev/null
$B mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144,cache=loose,ro host /host
$B mount -t tmpfs t /ram; $B mkdir /ram/up /ram/work
$B mount -t overlay -o lowerdir=/host,upperdir=/ram/up,workdir=/ram/work o /root
for f in proc sys dev; do $B mount --move /$f /root/$f; done; $B mount -t tmpfs t /root/run
echo "machine: up"
$B chroot /root /bin/sh {script}
echo "machine: $?"
$B chroot /root /bin/busybox poweroff -f
"""


def run_in_machine(script: Path, folder: Path, *, modules: list[str], options: str = "", timeout_s: int) -> str:
    """Run a shell script as root under a kernel with these modules, and return what came out.

    This machine's files are there, read-only below a layer in memory.

    Args:
        script: The script; lies where the machine sees it.
        folder: For kernel and start files; kept for the next run.
        modules: Names of kernel modules, beside those that are needed anyway.
        options: Of the modules.
        timeout_s: Guards against a hang.
    """
    unpacked = _kernel(folder)
    _write_initrd(folder, unpacked, modules, _INIT.format(script=script, options=options))
    (image,) = (unpacked / "boot").glob("vmlinuz-*")
    hardware = ["-accel", "tcg", "-cpu", "max", "-m", "1500", "-nographic", "-no-reboot", "-nic", "none"]
    shared = "local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap"
    started = ["-kernel", str(image), "-initrd", str(folder / "initrd.gz"), "-append", "console=ttyS0 quiet panic=-1"]
    command = ["qemu-system-x86_64", *hardware, *started, "-virtfs", shared]
    done = subprocess.run(
        command,
        capture_output=True,
        timeout=timeout_s,
        check=False,
        stdin=subprocess.DEVNULL,
        text=True,
        errors="replace",
    )
    assert "machine: up" in done.stdout, done.stdout + done.stderr
    return done.stdout.partition("machine: up")[2]


def _kernel(folder: Path) -> Path:
    """Return Debian's newest kernel, unpacked; nothing is installed."""
    unpacked = folder / "kernel"
    if (unpacked / "boot").is_dir():
        return unpacked
    asked = subprocess.run(["apt-cache", "depends", KERNEL], capture_output=True, text=True, check=True).stdout
    found = re.search(r"Depends: (linux-image-\S+)", asked)
    assert found, f"{KERNEL} is not known: apt-get update"
    subprocess.run(["apt-get", "download", "-q", found[1]], cwd=folder, check=True, capture_output=True)
    (package,) = folder.glob(f"{found[1]}_*.deb")
    subprocess.run(["dpkg-deb", "-x", str(package), str(unpacked)], check=True)
    package.unlink()
    return unpacked


def _write_initrd(folder: Path, unpacked: Path, modules: list[str], init: str) -> None:
    """Write what the kernel starts with: busybox, the modules in the order of their needs, and what they begin."""
    root = folder / "initrd"
    shutil.rmtree(root, ignore_errors=True)
    for name in ("bin", "m", "proc", "sys", "dev", "host", "ram", "root"):
        (root / name).mkdir(parents=True)
    busybox = shutil.which("busybox")
    assert busybox, "busybox-static is installed by scripts/system_packages.sh"
    shutil.copy(busybox, root / "bin" / "busybox")
    there = {_plain(path): path for path in unpacked.glob("**/lib/modules/**/*.ko*")}
    order: list[str] = []
    for name in ("virtio_pci", "9pnet_virtio", "9p", "overlay", *modules):
        _add(name, there, order)
    for number, name in enumerate(order):
        (root / "m" / f"{number:03d}-{name}.ko").write_bytes(_content(there[name]))
    (root / "init").write_text(init)
    (root / "init").chmod(0o755)
    names = "\n".join(str(path.relative_to(root)) for path in sorted(root.rglob("*")))
    archive = subprocess.run(
        [busybox, "cpio", "-o", "-H", "newc"], cwd=root, input=names.encode(), capture_output=True, check=True
    ).stdout
    (folder / "initrd.gz").write_bytes(gzip.compress(archive, 1))


def _add(name: str, there: dict[str, Path], order: list[str]) -> None:
    if name in order or name not in there:  # not there: built into the kernel
        return
    found = re.search(rb"\0depends=([^\0]*)\0", _content(there[name]))
    for needed in (found[1].decode() if found else "").split(","):
        _add(needed.replace("-", "_"), there, order)
    order.append(name)


def _plain(path: Path) -> str:
    return path.name.partition(".ko")[0].replace("-", "_")


def _content(path: Path) -> bytes:
    data = path.read_bytes()
    return lzma.decompress(data) if path.suffix == ".xz" else data


def environment() -> str:
    """Return shell lines that make this process's Python and modules those of the machine's."""
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    return "".join(f"export {name}='{value}'\n" for name, value in kept.items()) + "export HOME=/run\n"
