"""Files that are whole or not there: written beside their place, forced to the disk, then renamed."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PART = ".part"  # the end of a file's name while it is written


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give a new path beside `path` to write to, which takes its place at the end; its folder is made.

    Whoever reads sees the old file or the new one, also after a power cut, and of several writers the last one's.
    An error leaves the old file as it was. A process that is killed leaves a file that ends in `PART`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.{os.getpid()}-{secrets.token_hex(4)}{PART}")
    try:
        yield beside
        _to_disk(beside)
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    _to_disk(path.parent)


def make_private_folder(path: Path) -> None:
    """Make a folder, where there is none, and let its owner alone look into it; raises OSError."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.chmod(0o700)


def write_whole(path: Path, content: bytes) -> None:
    """Write the file, whole or not at all; raises OSError."""
    with whole_file(path) as beside:
        beside.write_bytes(content)


def move_whole(source: Path, target: Path) -> None:
    """Give a file or a folder of the same file system its place when all of it is on the disk; raises OSError."""
    for path in (source, *source.rglob("*")):
        _to_disk(path)
    source.replace(target)
    _to_disk(target.parent)


def _to_disk(path: Path) -> None:
    """Wait until a file's content, or a folder's list of names, is on the disk."""
    if path.is_dir() and os.name == "nt":  # Windows opens no folder
        return
    file = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
