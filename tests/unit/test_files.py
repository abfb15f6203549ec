from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeglm.errors import BusyError, StorageError, UserError
from edgeglm.files import (
    as_system_error,
    copy_file,
    locked,
    private_folder,
    replacing,
    sha256_file,
    storage_errors,
    write_bytes,
    write_changed,
)


def test_a_write_that_fails_half_way_leaves_the_old_file_and_no_rubbish(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    write_bytes(path, b"old")

    def fail_half_way() -> None:
        with replacing(path) as temporary:
            temporary.write_bytes(b"ne")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail_half_way()
    assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["report.json"]


def test_a_file_size_limit_is_a_storage_error_and_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    write_bytes(path, b"old")
    script = (
        "import resource, signal, sys; from pathlib import Path; from edgeglm.files import write_bytes;"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000));"
        "write_bytes(Path(sys.argv[1]), b'x' * 5000)"
    )
    done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=False)
    assert "StorageError" in done.stderr
    assert path.read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 1000


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.ENOSPC, "disk-full"),
        (errno.EDQUOT, "disk-full"),
        (errno.EROFS, "disk-refuses"),
        (errno.EACCES, "disk-refuses"),
        (errno.ENOENT, "disk-refuses"),
        (errno.ENOLCK, "disk-refuses"),
    ],
)
def test_what_keeps_a_file_from_being_written_is_a_storage_error_with_its_path(number: int, code: str) -> None:
    with pytest.raises(StorageError) as caught, storage_errors(Path("somewhere/model.onnx")):
        raise OSError(number, os.strerror(number), "somewhere/.model.onnx.part")
    assert (caught.value.code, caught.value.exit_code) == (code, 4)
    assert "somewhere/model.onnx: cannot write" in str(caught.value)
    assert "hint:" in str(caught.value)
    assert ("another folder with -o" in str(caught.value)) == (code == "disk-full")


@pytest.mark.parametrize(
    "write", [lambda path: write_bytes(path, b"x"), lambda path: locked(path, wait=True, what="x").__enter__()]
)
@pytest.mark.parametrize("folder", ["/proc/no-such/out", "/dev/null/out"])
def test_a_folder_that_cannot_be_made_is_a_storage_error(write: Callable[[Path], object], folder: str) -> None:
    with pytest.raises(StorageError) as caught:
        write(Path(folder) / "report.json")
    assert caught.value.code == "disk-refuses"


def test_an_error_that_is_not_the_disks_is_left_alone(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        copy_file(tmp_path / "missing", tmp_path / "copy")
    with pytest.raises(FileNotFoundError), storage_errors(tmp_path / "cache" / "entry"):
        (tmp_path / "data" / "missing.npy").read_bytes()
    with pytest.raises(ConnectionRefusedError), storage_errors(tmp_path / "copy"):
        raise OSError(errno.ECONNREFUSED, "refused")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_the_disks_wherever_it_is_met(tmp_path: Path) -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "elsewhere/scratch")
    with pytest.raises(StorageError), storage_errors(tmp_path / "model.onnx"):
        raise full
    known = as_system_error(full)
    assert known is not None
    assert (known.code, known.exit_code) == ("disk-full", 4)
    stdout = str(as_system_error(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))))
    assert "make room" in stdout
    assert "-o" not in stdout, "no verb's option makes room where stdout leads to"


@pytest.mark.parametrize("number", [errno.EACCES, errno.EISDIR, errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG])
def test_a_named_file_that_cannot_be_opened_is_the_users(number: int) -> None:
    known = as_system_error(OSError(number, os.strerror(number), "data/x.npz"))
    assert isinstance(known, UserError)
    assert str(known).startswith(f"data/x.npz: cannot read: {os.strerror(number)}")
    assert known.code == "file-unreadable"


@pytest.mark.parametrize(
    "error",
    [
        OSError("no number"),
        OSError(errno.EACCES, "no name"),
        OSError(errno.EPIPE, "broken", "pipe"),
        OSError(errno.ECHILD, "no child", "x"),
    ],
)
def test_an_error_that_names_no_file_is_a_bug(error: OSError) -> None:
    assert as_system_error(error) is None


def test_no_folder_for_temporary_files_is_told_with_what_names_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere() -> str:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']")

    monkeypatch.setattr("tempfile.gettempdir", nowhere)
    with pytest.raises(OSError, match="No usable") as caught:
        nowhere()
    known = as_system_error(caught.value)
    assert known is not None
    assert (known.code, known.exit_code) == ("disk-refuses", 4)
    assert "set TMPDIR" in str(known)


def test_a_copy_has_the_same_digest(tmp_path: Path) -> None:
    source = tmp_path / "a"
    source.write_bytes(os.urandom(3 << 20))
    copy_file(source, tmp_path / "below" / "b")
    assert sha256_file(source) == sha256_file(tmp_path / "below" / "b")


def test_a_lock_that_another_process_holds_is_refused_and_goes_with_that_process(tmp_path: Path) -> None:
    lock = tmp_path / ".edgeglm"
    script = (
        "import sys; from pathlib import Path; from edgeglm.files import locked\n"
        "with locked(Path(sys.argv[1]), wait=False, what='x'):\n    print('held', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", script, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(BusyError, match="another run"), locked(lock, wait=False, what="here"):
        pass
    holder.kill()
    holder.communicate()
    with locked(lock, wait=False, what="here"):
        assert lock.exists()


def test_a_file_that_would_not_change_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "conf"
    write_changed(path, b"one", mode=0o600)
    before = path.stat()
    write_changed(path, b"one", mode=0o600)
    assert path.stat().st_ino == before.st_ino
    write_changed(path, b"two", mode=0o600)
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"two", 0o600)


def test_a_private_folder_is_its_owners_and_in_no_repository(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        private_folder(tmp_path / "new" / "keys")
    finally:
        os.umask(before)
    assert (tmp_path / "new" / "keys").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "new" / "keys" / ".gitignore").read_text() == "*\n"


def test_a_folder_that_is_there_already_is_left_as_it_is(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    private_folder(tmp_path)
    assert tmp_path.stat().st_mode & 0o777 == 0o755
    assert list(tmp_path.iterdir()) == []
