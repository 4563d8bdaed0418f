"""What `python -m pmb doctor` looks at: each finding is a fact and whether the embedded default can run with it."""

from __future__ import annotations

import importlib.metadata
import platform
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from pmb import machine, settings
from pmb.catalog.models import MODELS, BaseModel, downloaded_models
from pmb.engine import assets
from pmb.errors import PmbError, WeightsMissing
from pmb.lab import disk, executors, holder, queue
from pmb.lab.cluster import open_cluster
from pmb.lab.database import shown_url
from pmb.lab.listing import count_states
from pmb.lab.silence import said_after
from pmb.lab.store import damaged_rows, open_store

LIBRARIES = ("streamlit", "torch", "transformers", "sqlalchemy", "altair")
OLDEST_PYTHON = (3, 11)
STATES = ("done", "queued", "running", "failed")  # of runs


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report."""

    what: str
    ok: bool
    text: str

    def to_dict(self) -> dict[str, Any]:
        """As JSON-able values."""
        return asdict(self)


def examine() -> list[Finding]:
    """Look at everything that a run needs; takes the seconds that torch needs to start."""
    read = _look("settings", _settings)
    if not read.ok:
        return [read]  # nothing else can be looked at
    findings = [
        Finding("python", sys.version_info >= OLDEST_PYTHON, platform.python_version()),
        read,
        _look("libraries", _libraries),
        _look("device", _device),
        *[Finding("gpu", True, machine.gpu_line(gpu)) for gpu in machine.gpus()],
        _look("assets", _assets),
        *[Finding("weights", True, _weights(MODELS[name])) for name in downloaded_models()],
        _look("store", _store),
        _look("worker", _worker),
        _look("disk", lambda: disk.usage_line(disk.usage(settings.from_environment()))),
    ]
    found = settings.from_environment()
    return [*findings, examine_cluster(found)] if found.executor == "ray" else findings


def examine_cluster(found: settings.Settings) -> Finding:
    """Whether the Ray cluster that was chosen answers, and what it has room for."""
    return _look("ray", lambda: _cluster(found))


def _look(what: str, fact: Callable[[], str]) -> Finding:
    try:
        with said_after(f"Looking at the {what}…"):
            return Finding(what, True, fact())
    except (PmbError, OSError) as error:
        return Finding(what, False, str(error))


def _settings() -> str:
    found = settings.from_environment()
    return f"PMB_HOME is {found.home}"


def _libraries() -> str:
    try:
        return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in LIBRARIES)
    except importlib.metadata.PackageNotFoundError as error:
        raise PmbError(f"{error.name} is not installed; `make run` installs what the lab needs.") from error


def _device() -> str:
    child = executors.Child()
    try:
        child.ready(None)
    finally:
        child.end()
    if (name := child.device) is None:
        raise PmbError(f"torch cannot start: {(child.log().strip().splitlines() or ['no words'])[-1]}")
    return name


def _assets() -> str:
    folder = settings.from_environment().assets
    assets.check(folder)
    return f"embedded model and data in {folder}"


def _weights(row: BaseModel) -> str:
    """A model that has not been downloaded is no fault: nobody may have asked for it."""
    try:
        row.check_weights(found := settings.from_environment().assets)
    except WeightsMissing as error:
        return str(error).rstrip(".")
    return f"{row.title} in {row.unpacked_in(found)}"


def _store() -> str:
    found = settings.from_environment()
    store = open_store(found)
    try:
        counts = {state: count for state, count, _ in count_states(store)}
        damaged = damaged_rows(store, everything=True)
    finally:
        store.close()
    told = ", ".join(f"{counts.get(state, 0)} {state}" for state in STATES)
    left_out = f"; damaged and left out, {len(damaged)}: {'; '.join(damaged)}" if damaged else ""
    return f"{shown_url(store.engine.url)}: {told}{left_out}"


def _worker() -> str:
    """No worker is no fault: `run` works the queue itself."""
    found = settings.from_environment()
    store = open_store(found)
    try:
        names = queue.list_workers(store)
        why = holder.trouble(found, store)
    finally:
        store.close()
    if why:
        raise PmbError(why)
    return ", ".join(names) if names else "none is running; `make run` and `python -m pmb worker` start one"


def _cluster(found: settings.Settings) -> str:
    cluster = open_cluster(found)
    try:
        if not cluster.fitting():
            raise PmbError(f"no node has room for a run: {cluster.describe()}; see PMB_CPUS_PER_RUN, PMB_GPUS_PER_RUN")
        return cluster.describe()
    finally:
        cluster.end()
