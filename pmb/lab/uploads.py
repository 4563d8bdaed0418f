"""Files that a user brings by the browser: kept on this machine, under names that cannot leave their folder."""

from __future__ import annotations

import hashlib
import re
from dataclasses import asdict
from pathlib import Path

from pmb.bounds import MOST_MEGABYTES
from pmb.catalog.tasks import TABLE_SUFFIXES, Table
from pmb.errors import BadInput, PmbError, RunFailed
from pmb.files import make_private_folder, write_whole
from pmb.lab.executors import ask, look_limits
from pmb.lab.store import Store
from pmb.settings import Settings
from pmb.spec import TablePreview

MOST_CHARACTERS = 80  # of a file's name


def keep(store: Store, settings: Settings, name: str, content: bytes) -> Path:
    """Write an upload to PMB_HOME/uploads, whole or not at all; the same file is kept once. Raises PmbError."""
    store.check_may_write()
    if _suffix(name) not in TABLE_SUFFIXES:
        raise BadInput(f"{name!r} is no table that can be read: {', '.join(TABLE_SUFFIXES)} are.")
    if not content:
        raise BadInput(f"{name!r} is empty.")
    if len(content) > MOST_MEGABYTES * 1_000_000:
        raise BadInput(f"{name!r} has {len(content) / 1e6:.0f} MB; at most {MOST_MEGABYTES} are allowed.")
    folder = settings.home / "uploads" / hashlib.sha256(content).hexdigest()[:12]
    path = folder / safe_name(name)
    if path.is_file() and path.stat().st_size == len(content):
        return path
    try:
        make_private_folder(folder.parent)
        write_whole(path, content)
        path.chmod(0o600)
    except OSError as error:
        raise PmbError(f"{name!r} cannot be kept in {folder}: {error.strerror or error}.") from error
    return path


def safe_name(name: str) -> str:
    """A file name of letters, digits and few signs, with the suffix of the one that was given."""
    stem = name.rpartition(".")[0].replace("\\", "/").rpartition("/")[2]
    safe = re.sub(r"[^A-Za-z0-9_-]+", "-", stem).strip("-")[:MOST_CHARACTERS].strip("-")
    return (safe or "table") + _suffix(name)


def _suffix(name: str) -> str:
    return "".join(name.rpartition(".")[1:]).lower() if "." in name else ""


def preview(table: Table) -> TablePreview:
    """What is in a table's file, read in a child process; raises BadInput."""
    try:
        job = {"kind": "preview table", "table": asdict(table), "assets": ""}
        found = ask(job, limits=look_limits([Path(table.path)]))
    except RunFailed as error:  # whatever is wrong, it is with what the user brought
        raise BadInput(str(error)) from error
    return TablePreview.from_dict(found["preview"])
