"""Files and folders where people have them: pipes, links, odd names, disks without locks."""

import errno
import fcntl
import io
import os
import socket
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from mla_jax.commands.markdown import update_markdown
from mla_jax.progress import Progress
from mla_jax.runs.checkpoints import require_readable_later
from mla_jax.runs.folder import require_output
from mla_jax.storage import cache, files, locks, outputs, paths
from mla_jax.storage.folders import new_folder
from tests.support.helpers import raises_user_error

NAMES = {
    "brackets": "[a]*?",
    "backslash": "a\\b",
    "quotes and a line end": "'\"\n",
    "not UTF-8": os.fsdecode(b"s\xff"),
    "as long as can be": "x" * 255,
    "long, in letters of several bytes": "é" * 127,
    "a tilde": "~",
}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_files_and_folders_of_odd_names(name: str, tmp_path: Path) -> None:
    for folder in ("files", "folders"):
        (tmp_path / folder).mkdir()
    for _ in range(2):
        outputs.require_writable(tmp_path / "files" / name)
        files.write_json(tmp_path / "files" / name, {name: name})
    assert files.read_json(tmp_path / "files" / name) == {name: name}
    with new_folder(tmp_path / "folders" / name, alone=True) as folder:
        (folder / "a").write_text("a")
    assert (tmp_path / "folders" / name / "a").read_text() == "a"
    for inside, expected in (("files", [name]), ("folders", [name])):
        assert [p.name for p in (tmp_path / inside).iterdir()] == expected


def _device(folder: Path) -> Path:
    try:
        os.mknod(folder / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("only root makes devices")
    return folder / "null"


def _pipe(folder: Path) -> Path:
    os.mkfifo(folder / "pipe")
    return folder / "pipe"


def test_sockets_are_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's path has 107 bytes at most
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket")
        listening.listen()
        outputs.require_writable("socket")
        files.write_text("socket", "text")
        with listening.accept()[0] as connection:
            assert connection.recv(100) == b"text"
    with raises_user_error("cannot write socket: Connection refused"):
        files.write_text("socket", "text")
    assert (tmp_path / "socket").is_socket()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        outputs.require_writable(f"/dev/fd/{ours.fileno()}")
        files.write_text(f"/dev/fd/{ours.fileno()}", "text")
        assert theirs.recv(100) == b"text"


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("make", [_device, _pipe])
def test_devices_and_pipes_are_written_to(
    make: Callable[[Path], Path], binary: bool, tmp_path: Path
) -> None:
    place = make(tmp_path)
    kind, got = stat.S_IFMT(place.stat().st_mode), []
    reader = threading.Thread(target=lambda: got.append(place.read_bytes()), daemon=True)
    reader.start()
    outputs.require_writable(place)
    with files.replacing(place, binary=binary) as file:
        file.write(b"text" if binary else "text")
    reader.join(10)
    assert stat.S_IFMT(place.stat().st_mode) == kind
    assert got == ([b"text"] if make is _pipe else [b""])
    assert [p.name for p in tmp_path.iterdir()] == [place.name]


def test_what_is_open_goes_on_where_it_is(tmp_path: Path) -> None:
    """As `--output=/dev/stdout >> log`."""
    with open(tmp_path / "log", "wb", buffering=0) as log:
        log.write(b"before ")
        files.write_text(f"/dev/fd/{log.fileno()}", "text")
        log.write(b" after")
    assert (tmp_path / "log").read_bytes() == b"before text after"


@pytest.mark.parametrize("there", [True, False])
def test_links_are_followed(there: bool, tmp_path: Path) -> None:
    for name, target in (("link", "target"), ("way", "folder")):
        (tmp_path / name).symlink_to(target)
    (tmp_path / "folder").mkdir()
    if there:
        (tmp_path / "target").write_text("old")
    files.write_text(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_text() == "new"
    number = (tmp_path / "folder").stat().st_ino
    outputs.require_new_folder(tmp_path / "way")
    with pytest.raises(RuntimeError), new_folder(tmp_path / "way") as folder:
        raise RuntimeError((folder / "a").write_text("half"))
    with new_folder(tmp_path / "way", last="a") as folder:
        (folder / "below").mkdir()
        for name in ("a", "below/b"):
            (folder / name).write_text(name)
        assert not (tmp_path / "folder" / "a").exists()
    assert (tmp_path / "folder").stat().st_ino == number, "it may be a mount point"
    assert sorted(p.name for p in (tmp_path / "folder").iterdir()) == ["a", "below"]
    assert (tmp_path / "folder" / "below" / "b").read_text() == "below/b"


def test_a_file_that_cannot_be_replaced_is_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one that is a mount point by itself (`docker -v FILE:FILE`)."""

    def busy(*_: object) -> None:
        raise OSError(errno.EBUSY, "Device or resource busy")

    (tmp_path / "a").write_text("old and longer")
    monkeypatch.setattr(os, "replace", busy)
    files.write_text(tmp_path / "a", "new")
    assert (tmp_path / "a").read_text() == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_permissions_follow_the_umask_or_stay(tmp_path: Path) -> None:
    (tmp_path / "old").write_text("old")
    (tmp_path / "old").chmod(0o664)
    before = os.umask(0o027)
    try:
        for name in ("old", "new"):
            files.write_text(tmp_path / name, "text")
        with new_folder(tmp_path / "folder"):
            pass
    finally:
        os.umask(before)
    modes = [(tmp_path / name).stat().st_mode & 0o777 for name in ("old", "new", "folder")]
    assert modes == [0o664, 0o640, 0o750]


def test_a_markdown_file_keeps_what_is_not_the_table(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_bytes(b"\xff\r\n<!-- a -->\r\nold\r\n<!-- /a -->\r\nend\n")
    page.chmod(0o660)
    update_markdown(page, "a", "x\ny")
    assert page.read_bytes() == b"\xff\r\n<!-- a -->\r\nx\r\ny\r\n<!-- /a -->\r\nend\n"
    assert page.stat().st_mode & 0o777 == 0o660


def test_what_cannot_be_written_is_known_before(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "nowhere").symlink_to("missing")
    for name, message in (
        (".", "is a folder; give the file"),
        ("file/a", "file is not a folder"),
        ("file/a/b", "file is not a folder"),
        ("loop/a", "symbolic links"),
        ("x" * 256, "File name too long"),
    ):
        with raises_user_error(message):
            outputs.require_writable(tmp_path / name)
    for given in (tmp_path / "file", tmp_path / "f*"):
        with raises_user_error("file is also read or written by this command"):
            outputs.require_writable(tmp_path / "file", ["", given])
    for name in ("file", "nowhere"):
        with raises_user_error(f"{name} already exists"):
            outputs.require_new_folder(tmp_path / name)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "loop", "nowhere"]


def test_a_folder_that_may_not_be_written_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("old and longer")
    monkeypatch.setattr(os, "access", lambda place, _: Path(place) != tmp_path)  # root may all
    with raises_user_error(f"nothing may be written in {tmp_path}; give another output"):
        outputs.require_writable(tmp_path / "new")
    outputs.require_writable(tmp_path / "file")
    files.write_text(tmp_path / "file", "new")
    assert (tmp_path / "file").read_text() == "new"


def test_a_runs_own_files_and_data_are_no_outputs(tmp_path: Path) -> None:
    run = tmp_path / "run"
    for folder in ("checkpoints/5", "tensorboard", "pictures"):
        (run / folder).mkdir(parents=True)
    for file in (run / "config.json", tmp_path / "manifest.json", tmp_path / "x.npy"):
        file.write_text("{}")
    (tmp_path / "link").symlink_to("run/results.json")
    own = (
        "results.json",
        "checkpoints/5/a",
        "tensorboard/a",
        "thresholds.json",
        ".lock",
        "../link",
    )
    for name in own:
        with raises_user_error(f"{name} is a file that the run in", "keeps for itself"):
            require_output(run / name)
    for name in ("manifest.json", "x.npy"):
        with raises_user_error(f"{name} belongs to data"):
            require_output(tmp_path / name)
    for name in ("run/average.json", "run/pictures/results.json", "results.json", "new.npy"):
        require_output(tmp_path / name)


@pytest.mark.parametrize("part", ["[exp1]", "win\\path", NAMES["not UTF-8"]])
def test_a_path_of_which_no_checkpoint_can_be_read_is_refused(part: str, tmp_path: Path) -> None:
    with raises_user_error("in its path cannot be read; rename"):
        require_readable_later(tmp_path / part / "run")
    for fine in ("a b", "a]", "[a", "a*?", "%20", "{a,b}"):
        require_readable_later(tmp_path / fine)


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_disk_without_locks_goes_without(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    with locks.one_writer(tmp_path), raises_user_error("is in use by process"):
        locks.one_writer(tmp_path).__enter__()
    monkeypatch.setattr(fcntl, "flock", flock)
    with locks.one_writer(tmp_path), locks.waiting(tmp_path / "lock") as held:
        assert not held


def test_a_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("MLA_JAX_CACHE", "~/copies")
    assert paths.as_path("~/a") == paths.absolute("~/a") == paths.resolved("~/a") == tmp_path / "a"
    assert cache.local_copy("~/a").path == f"{tmp_path}/a"
    assert cache.root() == tmp_path / "copies"
    assert paths.as_path("./~/a") == Path("~/a")


def test_progress_stops_no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(io.StringIO):
        def flush(self) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    with Progress("a", 1, "b", stream=Full()) as shown:
        shown.update(1)
    monkeypatch.setattr("sys.stderr", None)
    with Progress("a", 1, "b") as shown:
        shown.update(1)
