"""What the lab keeps on the disk, and deleting the caches' oldest parts when they grow over their limit.

Caches are the tokens of tasks, checkpoints of runs and kept weights: all of them can be made again. Results, assets and
uploads are never deleted here.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pmb.files import PART
from pmb.settings import Settings

STALE_SECONDS = 3600.0  # nobody writes one file for so long: what is older a killed process left


@dataclass(frozen=True, slots=True)
class Usage:
    """Bytes on the disk by kind; `limit` is that of tokens, checkpoints and weights together."""

    store: int
    assets: int
    uploads: int
    tokens: int
    checkpoints: int
    weights: int
    limit: int
    free: int

    @property
    def caches(self) -> int:
        """What counts towards the limit."""
        return self.tokens + self.checkpoints + self.weights


@dataclass(frozen=True, slots=True)
class _Item:
    """A part of a cache that is deleted as a whole."""

    path: Path
    size: int
    used_at: float


def checkpoint_folder(settings: Settings, key: str) -> Path:
    """Where a run keeps its checkpoints."""
    return settings.home / "checkpoints" / key


def usage(settings: Settings) -> Usage:
    """How much is where."""
    home, tokens = settings.home, _size(_tokens(settings))
    return Usage(
        store=sum(_size(path) for path in home.glob("lab.sqlite*")),
        assets=_size(settings.assets) - tokens,
        uploads=_size(home / "uploads"),
        tokens=tokens,
        checkpoints=_size(home / "checkpoints"),
        weights=_size(home / "weights"),
        limit=settings.cache_limit,
        free=shutil.disk_usage(next(folder for folder in (home, *home.parents) if folder.exists())).free,
    )


def usage_line(found: Usage) -> str:
    """The same in words."""
    caches = f"caches {_megabytes(found.caches)} of at most {_megabytes(found.limit)} MB"
    parts = f"tokens {_megabytes(found.tokens)}, checkpoints {_megabytes(found.checkpoints)}"
    kept = f"store {_megabytes(found.store)}, model and data {_megabytes(found.assets)}"
    return (
        f"{caches} ({parts}, weights {_megabytes(found.weights)}); {kept}, uploads {_megabytes(found.uploads)}; "
        f"{_megabytes(found.free)} MB free"
    )


def trim(settings: Settings, live: Collection[str]) -> int:
    """Delete checkpoints of runs that are not `live`, then what was longest of no use until the caches fit their limit.

    Checkpoints of live runs stay: what they hold is hours, not bytes. Returns the bytes that were freed.
    """
    gone: list[_Item] = []
    kept: list[_Item] = []
    for item in _items(settings):
        ended = item.path.parent.name == "checkpoints" and item.path.name not in live
        fresh = abs(time.time() - item.used_at) <= STALE_SECONDS  # a time far in the future is one of a wrong clock
        stale = item.path.name.endswith(PART) and not fresh
        (gone if ended or stale else kept).append(item)
    over = sum(item.size for item in kept) - settings.cache_limit
    for item in sorted(kept, key=lambda item: item.used_at):
        if over <= 0:
            break
        if item.path.name in live or item.path.name.endswith(PART):
            continue
        over -= item.size
        gone.append(item)
    for item in gone:
        _delete(item.path)
    return sum(item.size for item in gone)


def _items(settings: Settings) -> Iterator[_Item]:
    for folder in (_tokens(settings), settings.home / "checkpoints", settings.home / "weights"):
        for path in folder.iterdir() if folder.is_dir() else ():
            with suppress(FileNotFoundError):  # a child of another worker on this home renames and deletes too
                inside = [path, *path.rglob("*")]
                yield _Item(path, _size(path), max(one.stat().st_mtime for one in inside))


def _tokens(settings: Settings) -> Path:
    return settings.assets / "tokens"


def _size(path: Path) -> int:
    """Bytes of a file, or of all files in a folder; 0 where there is none."""
    total = 0
    for one in (path, *path.rglob("*")):
        with suppress(FileNotFoundError):
            total += one.stat().st_size if one.is_file() else 0
    return total


def _delete(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.0f}"
