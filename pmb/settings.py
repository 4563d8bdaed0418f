"""Where things are, read from the environment once per process."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from pmb.errors import BadInput

REPOSITORY = Path(__file__).resolve().parent.parent
EXECUTORS = ("local", "ray")
MOST_JOBS = 64
CACHE_LIMIT = 10_000_000_000
CHECKPOINT_SECONDS = 20.0
UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
MOST_WAITING = 10_000
EVERYONE = "*"


@dataclass(frozen=True, slots=True)
class Settings:
    """Folders and addresses; every field has a `PMB_…` environment variable, named beside it."""

    home: Path  # PMB_HOME: store, assets, logs
    database_url: str  # PMB_DATABASE_URL; empty: lab.sqlite in the home
    executor: str  # PMB_EXECUTOR
    shipped: Path  # PMB_SHIPPED: results that come with the repository
    jobs: int | None  # PMB_JOBS: runs at a time; None: as many as suit the machine
    glue: Path | None = None  # PMB_GLUE_DIR: a folder in the official GLUE layout
    cache_limit: int = CACHE_LIMIT  # PMB_CACHE_LIMIT: bytes of tokens, checkpoints and kept weights
    checkpoint_seconds: float = CHECKPOINT_SECONDS  # PMB_CHECKPOINT_SECONDS: least time between two
    read_only: bool = False  # PMB_READ_ONLY: results are shown, nothing is run or changed
    runners: tuple[str, ...] = ()  # PMB_RUNNERS: with sign-in, who may run: addresses, @domains, or * for all of them
    most_waiting: int = MOST_WAITING  # PMB_QUEUE_LIMIT: how many runs may wait
    confined: bool = False  # PMB_CONFINED: paths typed on a page lead to PMB_HOME alone; set where others reach it
    ray_address: str = ""  # PMB_RAY_ADDRESS, else RAY_ADDRESS; empty: a Ray of its own on this machine
    cpus_per_run: int = 1  # PMB_CPUS_PER_RUN, on a Ray cluster
    gpus_per_run: float | None = None  # PMB_GPUS_PER_RUN, on a Ray cluster; None: one where there are any

    @property
    def assets(self) -> Path:
        """The folder of the embedded model and data."""
        return self.home / "assets"


def from_environment() -> Settings:
    """Read the settings; raises BadInput where a value cannot be used."""
    home = Path(os.environ.get("PMB_HOME") or REPOSITORY / "cache").expanduser().resolve()
    executor = os.environ.get("PMB_EXECUTOR") or "local"
    if executor not in EXECUTORS:
        raise BadInput(f"PMB_EXECUTOR is {executor!r}; this version knows: {', '.join(EXECUTORS)}.")
    most_threads()  # whoever starts a run hears of it here, and not from torch in the child
    return Settings(
        home=home,
        database_url=os.environ.get("PMB_DATABASE_URL", ""),
        executor=executor,
        shipped=Path(os.environ.get("PMB_SHIPPED") or REPOSITORY / "cache" / "shipped").resolve(),
        jobs=_number("PMB_JOBS", MOST_JOBS),
        glue=_folder("PMB_GLUE_DIR"),
        cache_limit=_bytes("PMB_CACHE_LIMIT", CACHE_LIMIT),
        checkpoint_seconds=_seconds("PMB_CHECKPOINT_SECONDS", CHECKPOINT_SECONDS),
        read_only=_switch("PMB_READ_ONLY"),
        runners=_runners(os.environ.get("PMB_RUNNERS", "")),
        most_waiting=_number("PMB_QUEUE_LIMIT", 1_000_000) or MOST_WAITING,
        confined=_switch("PMB_CONFINED"),
        ray_address=os.environ.get("PMB_RAY_ADDRESS") or os.environ.get("RAY_ADDRESS", ""),
        cpus_per_run=_cpus(os.environ.get("PMB_CPUS_PER_RUN", "")),
        gpus_per_run=_gpus(os.environ.get("PMB_GPUS_PER_RUN", "")),
    )


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def most_threads() -> int | None:
    """How many threads OMP_NUM_THREADS allows: its first number, as for OpenMP; None where it is not set.

    Raises BadInput.
    """
    given = os.environ.get("OMP_NUM_THREADS", "").strip()
    if not given:
        return None
    first = given.partition(",")[0].strip()
    if not re.fullmatch(r"0*[1-9]\d{0,5}", first, re.ASCII):
        raise BadInput(f"OMP_NUM_THREADS is {given!r}; a whole number from 1, or a list such as 4,2, is allowed.")
    return int(first)


def _folder(variable: str) -> Path | None:
    given = os.environ.get(variable, "")
    if given and not Path(given).expanduser().is_dir():
        raise BadInput(f"{variable} is {given!r}, which is no folder.")
    return Path(given).expanduser().resolve() if given else None


def _bytes(variable: str, default: int) -> int:
    given = os.environ.get(variable, "")
    if not given:
        return default
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?B)?", given.strip(), re.IGNORECASE)
    if not found:
        raise BadInput(f"{variable} is {given!r}; a size such as 500MB or 2GB is allowed.")
    return int(float(found[1]) * UNITS[(found[2] or "B").upper()])


def _seconds(variable: str, default: float) -> float:
    given = os.environ.get(variable, "")
    try:
        seconds = float(given or default)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise BadInput(f"{variable} is {given!r}; a number of seconds from 0 is allowed.")
    return seconds


def _cpus(given: str) -> int:
    if given and not (given.isdecimal() and int(given)):
        raise BadInput(f"PMB_CPUS_PER_RUN is {given!r}; a whole number from 1 is allowed.")
    return int(given or 1)


def _gpus(given: str) -> float | None:
    """Ray gives out shares of one GPU, or whole ones."""
    if not given:
        return None
    share = float(given) if given.replace(".", "", 1).isdecimal() else -1.0
    if share < 0 or (share > 1 and share != int(share)):
        raise BadInput(f"PMB_GPUS_PER_RUN is {given!r}; 0, a share such as 0.25, or a whole number is allowed.")
    return share


def _number(variable: str, most: int) -> int | None:
    given = os.environ.get(variable, "")
    if given and not (given.isdecimal() and 1 <= int(given) <= most):
        raise BadInput(f"{variable} is {given!r}; a whole number from 1 to {most} is allowed.")
    return int(given) if given else None


def _switch(variable: str) -> bool:
    given = os.environ.get(variable, "")
    if given not in ("", "0", "1"):
        raise BadInput(f"{variable} is {given!r}; 1 is on, 0 or nothing is off.")
    return given == "1"


def _runners(given: str) -> tuple[str, ...]:
    """Addresses and @domains in small letters."""
    names = tuple(part.strip().lower() for part in given.split(",") if part.strip())
    if bad := [name for name in names if name != EVERYONE and ("@" not in name or name.endswith("@"))]:
        raise BadInput(
            f"{bad[0]!r} in PMB_RUNNERS is no e-mail address; write name@domain, @domain or {EVERYONE}, with commas."
        )
    return names
