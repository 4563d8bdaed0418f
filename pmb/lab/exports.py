"""Taking a run's model away: a folder, or a zip of one, made in a child process and put in its place as a whole."""

from __future__ import annotations

import importlib.util
import re
import secrets
import shutil
import time
import zipfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from pmb.errors import BadInput, PmbError, RunFailed
from pmb.files import PART, move_whole, whole_file
from pmb.insight.again import Again, compared, sentence
from pmb.insight.card import Subject, model_card
from pmb.insight.metrics import shown
from pmb.lab.answer import answer, command_of
from pmb.lab.queue import spec_of_row
from pmb.lab.sources import rows_of
from pmb.lab.store import Row, Store, get_run
from pmb.settings import MOST_JOBS, Settings, cores
from pmb.spec import Exported, Progress, Report

CARD = "README.md"
ONNX_PACKAGES = ("onnx", "onnxruntime", "onnxscript")
LOOK_SECONDS = 0.5  # while another export goes on
INT8_SHARE = 0.5  # of the weights' size, rather too much
THREADS = re.compile(r"\b(\d+) threads?\b")


@dataclass(frozen=True, slots=True)
class Forms:
    """What is exported besides the folder for transformers; int8 is made of the ONNX file."""

    onnx: bool = False
    int8: bool = False

    @property
    def with_onnx(self) -> bool:
        """Whether there is any ONNX file."""
        return self.onnx or self.int8


@dataclass(frozen=True, slots=True)
class Taken:
    """An export that is in its place; `again`: its weights' answers beside those of the store."""

    path: Path
    megabytes: float
    exported: Exported
    again: Again


def export(
    store: Store, settings: Settings, key: str, target: Path, forms: Forms, report: Report = lambda _: None
) -> Taken:
    """Write a finished run's model to `target`, whole or not at all: a new folder, or a zip where its name ends so.

    The run is made again where its weights are not kept. Raises PmbError.
    """
    run = exportable(store, key)
    store.check_may_write()
    check_packages(forms)
    spec = spec_of_row(run)
    beside = target.with_name(f"{target.name}.{secrets.token_hex(4)}{PART}")
    with _new(target, beside), _one_at_a_time(settings, report):
        check_new(target)  # another export may have been waited for
        model, task = rows_of(store, settings, spec)
        check_space(space_needed(settings, run, target, forms))
        job: dict[str, Any] = {"kind": "export", "spec": spec.to_dict(), "model": asdict(model), "task": asdict(task)}
        job |= {"assets": str(settings.assets), "threads": threads_of(run), "weights": str(kept_weights(settings, key))}
        job |= {"folder": str(beside), "onnx": forms.with_onnx, "int8": forms.int8}
        from pmb.lab.executors import Child  # time to import that no refusal needs

        exported = Exported.from_dict(Child().ask(job, report)["exported"])
        again = compared(run, asdict(exported.made), run["predictions"])
        values = answer(store, key, cached=True)
        subject = Subject(model, task, spec.recipe, values, run, command_of(spec), sentence(again))
        (beside / CARD).write_text(model_card(subject, exported.onnx), encoding="utf-8")
        if target.suffix == ".zip":
            _zip(beside, target)
        else:
            move_whole(beside, target)
    return Taken(target, size_of(target) / 1e6, exported, again)


def exportable(store: Store, key: str) -> Row:
    """All columns of a run that has a result; raises RunFailed where it has none."""
    run, name = get_run(store, key), key[:12]
    if run is None:
        raise BadInput(f"Run {name} is gone from the store, or its row there is damaged.")
    state = run["state"]
    if state in ("queued", "running"):
        raise RunFailed(f"Run {name} is {state}: it has no model yet; export it when it has ended.")
    if state != "done":
        raise RunFailed(f"Run {name} {state} and has no model; `python -m pmb retry {name}` runs it again.")
    return run


def check_new(target: Path) -> None:
    """Raise BadInput where something has that name already."""
    if target.exists() or target.is_symlink():
        raise BadInput(f"{target} is there already, and an export overwrites nothing: name another place.")


def check_packages(forms: Forms) -> None:
    """Raise BadInput where packages for ONNX are wanted and missing."""
    if forms.with_onnx and not onnx_is_here():
        raise BadInput("ONNX needs more packages: `pip install -r requirements-onnx.txt` brings them.")


def onnx_is_here() -> bool:
    """Whether the packages for ONNX are installed; imports none."""
    return all(importlib.util.find_spec(name) for name in ONNX_PACKAGES)


def check_space(needs: Sequence[tuple[Path, float]]) -> None:
    """Raise PmbError where the disk of a folder has not so many megabytes free: better now than after fine-tuning."""
    by_disk: dict[int, float] = defaultdict(float)
    for folder, megabytes in needs:
        by_disk[folder.stat().st_dev] += megabytes
        free, needed = shutil.disk_usage(folder).free / 1e6, by_disk[folder.stat().st_dev]
        if free < needed:
            raise PmbError(f"The export needs about {needed:,.0f} MB, and {folder} has {free:,.0f} MB free.")


def space_needed(settings: Settings, run: Row, target: Path, forms: Forms) -> list[tuple[Path, float]]:
    """Folders, and how many megabytes more are wanted in each; a zip is made of a folder beside it."""
    copies = 2 if target.suffix == ".zip" else 1
    wanted = [(target.parent, copies * needed_megabytes(run, forms))]
    if not kept_weights(settings, run["key"]).is_dir():
        wanted.append((settings.home, needed_megabytes(run, Forms())))
    return wanted


def needed_megabytes(run: Row, forms: Forms) -> float:
    """About what the export of a run takes."""
    weights: float = run["megabytes"]
    return weights * (1 + forms.with_onnx + INT8_SHARE * forms.int8) + 5


def kept_weights(settings: Settings, key: str) -> Path:
    """The folder of the cache in which a run's weights are, once they have been asked for."""
    return settings.home / "weights" / key


def zip_path(settings: Settings, run: Row, forms: Forms) -> Path:
    """The file of the cache that a page offers; named for people, and different for each run."""
    kind = "-int8" if forms.int8 else "-onnx" if forms.onnx else ""
    parts = [_name_part(run["model"]), _name_part(run["task"]), f"{len(run['kept_layers'])}-layers"]
    return settings.home / "weights" / f"{'-'.join(parts)}-seed{run['seed']}-{run['key'][:8]}{kind}.zip"


def _name_part(given: str) -> str:
    """What is in the name of a model, a file or a task, without what file names must not have."""
    name = given.rpartition("/")[2].partition("?")[0]
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-.")[:40]


def threads_of(run: Row) -> int:
    """On how many threads a run computed: on others its last digits may be others."""
    found = THREADS.search(run["machine"] or "")
    return min(int(found[1]), MOST_JOBS) if found else cores()


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    return sum(one.stat().st_size for one in (path, *path.rglob("*")) if one.is_file())


def lines(taken: Taken) -> list[str]:
    """What was written, for people."""
    found = [f"{taken.path}  {taken.megabytes:.0f} MB", sentence(taken.again)]
    for one in taken.exported.onnx:
        times = ", ".join(
            f"batch {time.batch} {1000 * time.seconds:.1f} ms (PyTorch {1000 * time.torch_seconds:.1f})"
            for time in one.timings
        )
        metric = taken.again.metric
        found.append(
            f"{one.file}  {one.megabytes:.0f} MB  {one.changed} of {one.sentences} answers differ, "
            f"{shown(metric, one.score)} (PyTorch {shown(metric, one.torch_score)}), logits by at most "
            f"{one.logit_difference:.1g}; {times}"
        )
    return found


def plain(taken: Taken) -> Row:
    """The same as JSON-able values."""
    again = taken.again
    values = {"path": str(taken.path), "megabytes": taken.megabytes, "score": again.before, "new_score": again.after}
    values |= {"changed_predictions": again.changed, "dev": again.dev, "reasons": list(again.reasons)}
    return values | {"onnx": [asdict(one) for one in taken.exported.onnx]}


@contextmanager
def _new(target: Path, beside: Path) -> Iterator[None]:
    """Leave nothing beside the target, and say in a sentence what is wrong with its place."""
    check_new(target)
    if not target.parent.is_dir():
        raise BadInput(f"{target.parent} is no folder, so {target.name} cannot be put there.")
    try:
        yield
    except OSError as error:
        raise PmbError(f"The model cannot be written to {target}: {error.strerror or error}.") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


@contextmanager
def _one_at_a_time(settings: Settings, report: Report) -> Iterator[None]:
    """Several at a time would be slower, and take the memory of all."""
    lock = FileLock(settings.home / "export.lock")
    while True:
        try:
            lock.acquire(timeout=0)
            break
        except Timeout:
            report(Progress("waiting for another export"))
            time.sleep(LOOK_SECONDS)
    try:
        yield
    finally:
        lock.release()


def _zip(folder: Path, target: Path) -> None:
    """A zip with one folder in it, named as the file is; weights do not get smaller, so nothing is packed."""
    with whole_file(target) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.write(path, f"{target.stem}/{path.relative_to(folder).as_posix()}")
