"""Files that survive a power cut and are never overwritten by accident.

Names are `str` with surrogate escapes inside, as `os.fsdecode` gives them, and percent-escaped where
they are shown.  Every function raises the `OSError` of the call that failed, with the path in it.
"""

import contextlib
import ctypes
import errno
import hashlib
import os
import re
import shutil
import stat
from collections.abc import Callable
from io import FileIO
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote_to_bytes

StrPath = str | os.PathLike[str]

_AT_FDCWD = -100
_RENAME_NOREPLACE = 1
_LIBC = ctypes.CDLL(None, use_errno=True)
_CANNOT_RENAME_NOREPLACE = {errno.ENOSYS, errno.EINVAL}  # an old kernel or C library; NFS and some FUSE
_CANNOT_LINK = {errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK}
_CHUNK_BYTES = 1 << 20
_ASIDE = re.compile(r"\.([0-9a-f]+)-([0-9a-f]+)-[0-9a-f]+\.aside")  # the moved file's device and inode; anything
_SHOWN = frozenset(range(0x21, 0x7F)) - frozenset(b"%\"'\\`")


def escape(name: str) -> str:
    """The name as printable ASCII without spaces, quotes, backslashes and `%`: every other byte is `%XX`."""
    return "".join(chr(b) if b in _SHOWN else f"%{b:02X}" for b in name.encode("utf-8", "surrogateescape"))


def unescape(text: str) -> str:
    """The name that `escape` was given."""
    return unquote_to_bytes(text).decode("utf-8", "surrogateescape")


def sync_dir(path: StrPath) -> None:
    """What was created, renamed or removed in the folder stays so after a power cut."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_up(path: Path, top: Path) -> None:
    """The folder `path`, and those above it up to `top`, have the names that they have after a power cut too."""
    for folder in (path, *path.parents):
        sync_dir(folder)
        if folder == top:
            return


def sync_tree(path: StrPath) -> None:
    """Every file and folder below `path`, and `path` itself, is on the disk.  Links are not followed."""
    for folder, _, names in os.walk(path, topdown=False, onerror=_raise):
        for name in names:
            _sync_file(Path(folder, name))
        sync_dir(folder)


def write_durable(path: StrPath, data: bytes) -> None:
    """`path` holds exactly `data` after this, a power cut included; at no time does it hold a part of it."""
    _write(path, data, durable=True)
    sync_dir(_parent(path))


def write_whole(path: StrPath, data: bytes) -> None:
    """`path` holds exactly `data` after this, whoever is killed; what a power cut leaves of it may be anything."""
    _write(path, data, durable=False)


def _write(path: StrPath, data: bytes, *, durable: bool) -> None:
    temporary = _temporary(_parent(path))
    try:
        with _create(temporary, 0o644) as file:
            file.write(data)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def rename_noreplace(src: StrPath, dst: StrPath) -> None:
    """Rename a file or folder; `FileExistsError` if `dst` exists, be it an empty folder.

    On a file system that cannot refuse by itself (NFS) a file is linked and unlinked, and a folder renamed
    plainly: the kernel then replaces nothing but an empty folder, and a published folder is never empty.
    """
    try:
        _renameat2(src, dst)
    except OSError as error:
        if error.errno not in _CANNOT_RENAME_NOREPLACE:
            raise
        _rename_without_kernel(src, dst)


def move_by_link(src: StrPath, dst: StrPath, progress: Callable[[], None] = lambda: None) -> None:
    """Move a file without ever overwriting one: link, sync, unlink.  FIFOs and links move as they are.

    Across file systems a regular file is copied, synced, read back and compared by sha256 before `src` goes;
    anything else is refused with `EXDEV`.  `FileExistsError` if `dst` exists, unless it holds the same bytes,
    as an interrupted move leaves it: then the move is finished.  A file that takes the name `src` meanwhile stays.
    `progress` is called now and then while a long copy goes on.
    """
    moving = _identity(src)
    try:
        os.link(src, dst, follow_symlinks=False)
    except FileExistsError:
        if not _same_content(src, dst, progress):
            raise
    except OSError as error:
        if error.errno not in _CANNOT_LINK:
            raise
        _copy(src, dst, progress)
    with contextlib.suppress(PermissionError):  # who may not open it cannot sync it either
        _sync_file(Path(dst))  # whoever wrote it may not have
    sync_dir(_parent(dst))
    _unlink(src, moving)
    sync_dir(_parent(src))


def sha256(path: StrPath, progress: Callable[[], None] = lambda: None) -> bytes:
    """Of a whole regular file; `EXDEV` for anything else.  `progress` is called now and then."""
    digest = hashlib.sha256()
    with _open_regular(path) as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
            progress()
    return digest.digest()


def put_back(folder: StrPath) -> None:
    """End the moves out of `folder` that were cut short: the file that was to move goes, any other returns.

    Where a file has taken its name meanwhile, it gets a new one with the same suffix.  What cannot be put back stays aside.
    """
    with contextlib.suppress(OSError):
        for match in filter(None, map(_ASIDE.fullmatch, os.listdir(folder))):
            _put_back(Path(folder) / match[0], (int(match[1], 16), int(match[2], 16)))


def _put_back(aside: Path, moved: tuple[int, int]) -> None:
    with contextlib.suppress(OSError):
        for path in list(aside.iterdir()):
            if _identity(path) == moved:
                path.unlink()
                continue
            try:
                rename_noreplace(path, aside.parent / path.name)
            except FileExistsError:
                rename_noreplace(path, aside.parent / (os.urandom(8).hex() + "".join(path.suffixes[-2:])))
        aside.rmdir()


def remove(path: Path) -> None:
    """A file, link or folder that is of no use any more; what cannot be removed stays."""
    with contextlib.suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def one_line(error: Exception) -> str:
    """What went wrong and with which file, without a line break."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {escape(str(error.filename))}" if error.filename else error.strerror
    return " ".join(str(error).split())


def _identity(path: StrPath) -> tuple[int, int]:
    about = Path(path).lstat()
    return about.st_dev, about.st_ino


def _unlink(path: StrPath, expected: tuple[int, int]) -> None:
    """Remove the name of one file and of no other: it is set aside first, and put back if it is another's by now.

    Aside is a hidden folder, in which it keeps its name whatever its length: see `put_back`.
    """
    folder = _parent(path) / f".{expected[0]:x}-{expected[1]:x}-{os.urandom(4).hex()}.aside"
    folder.mkdir(0o700)
    aside = folder / Path(path).name
    try:
        Path(path).rename(aside)
        if _identity(aside) == expected:
            aside.unlink()
        else:
            rename_noreplace(aside, path)
    finally:
        with contextlib.suppress(OSError):  # it holds a file that could not be put back
            folder.rmdir()


def _raise(error: OSError) -> None:
    raise error


def _parent(path: StrPath) -> Path:
    return Path(path).absolute().parent


def _sync_file(path: Path) -> None:
    if not stat.S_ISREG(Path(path).lstat().st_mode):
        return
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _temporary(folder: Path) -> Path:
    return folder / f".{os.urandom(8).hex()}.tmp"


def _create(path: Path, mode: int) -> BinaryIO:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode), "wb")


def _open_regular(path: StrPath) -> FileIO:
    """Open for reading without following a link or hanging on a FIFO; `EXDEV` for what is not a file."""
    if not stat.S_ISREG(Path(path).lstat().st_mode):
        raise OSError(errno.EXDEV, "only regular files move between file systems", os.fspath(path))
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    return FileIO(fd, "rb")


def _renameat2(src: StrPath, dst: StrPath) -> None:
    if not hasattr(_LIBC, "renameat2"):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    if _LIBC.renameat2(_AT_FDCWD, os.fsencode(src), _AT_FDCWD, os.fsencode(dst), _RENAME_NOREPLACE) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), os.fspath(src), None, os.fspath(dst))


def _rename_without_kernel(src: StrPath, dst: StrPath) -> None:
    if not stat.S_ISDIR(Path(src).lstat().st_mode):
        os.link(src, dst, follow_symlinks=False)
        Path(src).unlink()
        return
    try:
        Path(src).rename(dst)
    except OSError as error:
        if error.errno in {errno.ENOTEMPTY, errno.ENOTDIR}:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), os.fspath(dst)) from error
        raise


def _same_content(src: StrPath, dst: StrPath, progress: Callable[[], None]) -> bool:
    a, b = Path(src).lstat(), Path(dst).lstat()
    if (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino):
        return True
    if not (stat.S_ISREG(a.st_mode) and stat.S_ISREG(b.st_mode)):
        return False
    return a.st_size == b.st_size and sha256(src, progress) == sha256(dst, progress)


def _copy(src: StrPath, dst: StrPath, progress: Callable[[], None]) -> None:
    """`dst` is a synced copy of the regular file `src`, compared with it, with its times and permissions.

    Until then it is called `.DST.part`, so that the next try takes the place of one that was interrupted.
    """
    temporary = _parent(dst) / f".{Path(dst).name}.part"
    temporary.unlink(missing_ok=True)
    try:
        with _open_regular(src) as source, _create(temporary, 0o600) as target:
            before = os.fstat(source.fileno())
            while chunk := source.read(_CHUNK_BYTES):
                target.write(chunk)
                progress()
            target.flush()
            os.fchmod(target.fileno(), stat.S_IMODE(before.st_mode))
            os.utime(target.fileno(), ns=(before.st_atime_ns, before.st_mtime_ns))
            os.fsync(target.fileno())
            # What is compared below then comes from the disk, not from the cache.
            os.posix_fadvise(target.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        if sha256(src, progress) != sha256(temporary, progress):
            raise OSError(errno.EIO, "copy and file differ: still being written?", os.fspath(src))
        rename_noreplace(temporary, dst)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
