"""Models and tasks by name: those of the catalog, and what else a user names, looked into once and remembered.

What the catalog does not say (how deep a model is, how many rows a table has, which revision they are) a child finds
out; it is remembered with a fingerprint of the files, so that changed files are looked into again.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from sqlalchemy import delete, select

from pmb.bounds import MOST_NAME_CHARACTERS
from pmb.catalog.models import MODELS, BaseModel, downloaded_models, same_model
from pmb.catalog.tasks import TASKS, Task, parse_table
from pmb.errors import BadInput, NotAllowed, RunFailed, unknown_name
from pmb.lab.schema import sources
from pmb.lab.store import Row, Store
from pmb.settings import Settings
from pmb.spec import Report, RunSpec

TABLE = "csv:"
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?")
OLD_LAYOUT = "0_Transformer"
READING = 2  # raise it when the same table would be read otherwise: it is then looked into again
ON_THE_HUB = "hub"  # stands for a fingerprint: a commit does not change


def find_model(store: Store, settings: Settings, name: str, pinned: bool = False) -> BaseModel:
    """The model of that name: of the catalog, a folder, or a Hub id such as owner/model or owner/model@revision.

    A folder is looked into when it is new or has changed. A model of the Hub is looked up once, and from then on it is
    that commit; one of the catalog only when it is to be `pinned`, since the catalog tells how deep it is. What has
    the weights of the catalog's own model is that model. Raises BadInput.
    """
    if name in MODELS and not MODELS[name].hub:
        return _with_files(store, settings, MODELS[name])
    is_hub = name in MODELS or bool(HUB_ID.fullmatch(name))
    if name in MODELS or (is_hub and settings.confined):
        return _hub_model(store, settings, name, pinned)
    folder = _place("model", name)
    there = _is_there(folder.is_dir)
    if is_hub and not there:
        return _hub_model(store, settings, name, pinned)
    if not _known(store, "model", str(folder)):
        _check_place(settings, folder)
    if not there:
        raise unknown_name("model", name, (*MODELS, "a folder with a model", "owner/model of the Hub"))
    folder = _encoder_folder(folder)
    identity = str(folder)
    title = folder.parent.name if folder.name == OLD_LAYOUT else folder.name
    row = BaseModel(identity, title, "", 0, None, "its own", f"The folder {folder}.", folder=identity)
    files = _files(folder)
    facts = _facts(store, settings, "model", identity, _model_fingerprint(files), asdict(row), files=files)
    return same_model(BaseModel.from_dict(facts))


def _with_files(store: Store, settings: Settings, row: BaseModel) -> BaseModel:
    """A model of the catalog with the place of its files: the assets, else a copy that was looked into."""
    if (settings.assets / row.wheel).is_file() if row.wheel else row.unpacked_in(settings.assets).is_dir():
        return row
    copies = []
    for source in store.read(sources, select(sources).where(sources.c.kind == "model")):
        copy = same_model(BaseModel.from_dict(source["facts"]))
        if copy.id == row.id and (copy.hub or _unchanged(Path(copy.folder), source["fingerprint"])):
            copies.append(copy)
    return min(copies, key=lambda copy: bool(copy.hub), default=row)  # a folder needs no download


def _unchanged(folder: Path, fingerprint: str) -> bool:
    """Whether a folder's files are those that were looked into."""
    try:
        return _model_fingerprint(_files(folder)) == fingerprint
    except BadInput:  # it is gone
        return False


def _model_fingerprint(files: Iterable[Path]) -> str:
    """Also tells what is asked of a folder: those looked into before weights had a hash are looked into again."""
    return f"weights {_fingerprint(files)}"


def check_weights(store: Store, settings: Settings, models: Iterable[str]) -> None:
    """Raise WeightsMissing where a person has to download the weights of one of these models first."""
    for name in set(models).intersection(downloaded_models()):
        find_model(store, settings, name).check_weights(settings.assets)


def _encoder_folder(folder: Path) -> Path:
    """The folder with the encoder: this one, or the one within it in the older layout of sentence-transformers."""
    inner = folder / OLD_LAYOUT
    is_inside = not _is_there((folder / "config.json").is_file) and _is_there((inner / "config.json").is_file)
    return inner if is_inside else folder


def _hub_model(store: Store, settings: Settings, name: str, pinned: bool) -> BaseModel:
    hub, _, revision = name.partition("@")
    row = MODELS.get(name) or BaseModel(
        name, hub.rpartition("/")[2], "", 0, None, "its own", f"{hub} of the Hub.", revision, hub=hub
    )
    if not pinned and row.num_hidden_layers and not _known(store, "model", name):
        return row
    return same_model(BaseModel.from_dict(_facts(store, settings, "model", name, ON_THE_HUB, asdict(row))))


def find_task(
    store: Store, settings: Settings, name: str, pinned: bool = False, report: Report = lambda _: None
) -> Task:
    """The task of that name; its files are looked into when they are new or have changed; raises BadInput.

    A GLUE task whose files are not here is fetched from the Hub when it is to be `pinned`, once; else it is given by
    the catalog alone, since what was measured on it can be shown without its data.
    """
    if name.startswith(TABLE):
        return _table_task(store, settings, name)
    if name not in TASKS:
        raise unknown_name("task", name, (*TASKS, "csv:PATH"))
    row = TASKS[name]
    folder = _glue_folder(settings.glue, row)
    if folder is None or (store.refusal and not _known(store, "task", f"{name} {folder}")):
        identity = f"{name} {row.hub}"
        if row.hub and (pinned or _known(store, "task", identity)):
            try:
                return Task.from_dict(_facts(store, settings, "task", identity, ON_THE_HUB, asdict(row), report))
            except BadInput as error:
                if not settings.glue:
                    raise
                raise BadInput(f"PMB_GLUE_DIR, {settings.glue}, has no folder {row.glue}. {error}") from error
        return row
    row, files = replace(row, folder=str(folder)), _files(folder)
    mark = _fingerprint(files)
    return Task.from_dict(_facts(store, settings, "task", f"{name} {folder}", mark, asdict(row), files=files))


def _glue_folder(glue: Path | None, row: Task) -> Path | None:
    """The folder of a GLUE task: in the folder `glue`, under its name in any spelling, or that folder itself."""

    def plain(name: str) -> str:
        return re.sub(r"[^a-z0-9]", "", name.lower())

    if glue is None or not row.glue:
        return None
    if (official := glue / row.glue) and _is_there(official.is_dir):
        return official
    try:
        folders = sorted(path for path in glue.iterdir() if path.is_dir())
    except OSError:
        return None
    names = {plain(row.glue), plain(row.id)}
    return next((folder for folder in (*folders, glue) if plain(folder.name) in names), None)


def _table_task(store: Store, settings: Settings, name: str) -> Task:
    table = parse_table(name)
    paths = [_place("task", given) for given in (table.path, table.dev) if given]
    if not _known(store, "task", name):
        for path in paths:
            _check_place(settings, path)
    if missing := [path for path in paths if not _is_there(path.is_file)]:
        raise BadInput(f"{missing[0]} is not there.")
    table = replace(table, path=str(paths[0]), dev=str(paths[1]) if table.dev else "")
    about = f"The table {paths[0]}; it stays on this machine."
    row = Task(name, paths[0].stem, ("accuracy",), (), "", "your own", about, table=table)
    mark = _fingerprint(paths, READING)
    return Task.from_dict(_facts(store, settings, "task", name, mark, asdict(row), files=paths))


def rows_of(store: Store, settings: Settings, spec: RunSpec) -> tuple[BaseModel, Task]:
    """The model and the task of a run; raises BadInput where they have changed since, WeightsMissing."""
    model = find_model(store, settings, spec.model, pinned=True)
    model.check_weights(settings.assets)
    task = find_task(store, settings, spec.task, pinned=True)
    if model.revision != spec.model_revision:
        raise BadInput(f"The model {spec.model} has changed since this run was asked for; ask for it again.")
    if task.revision != spec.task_revision:
        raise BadInput(f"The data of {spec.task} have changed since this run was asked for; ask for it again.")
    return model, task


def known_models(store: Store) -> list[str]:
    """The names of the catalog's models and of those that were looked into."""
    return [*MODELS, *(name for name in _names(store, "model") if name not in MODELS)]


def known_tasks(store: Store) -> list[str]:
    """The names of the catalog's tasks and of the user's tables."""
    return [*TASKS, *(name for name in _names(store, "task") if name.startswith(TABLE))]


def tasks_by_id(store: Store) -> dict[str, Task]:
    """The catalog's tasks, and all that were looked into since their sentences are counted, by what their data said."""
    query = select(sources.c.kind, sources.c.name, sources.c.facts).where(sources.c.kind == "task")
    looked_into = (Task.from_dict(row["facts"]) for row in store.read(sources, query))
    return TASKS | {task.id: task for task in looked_into if task.mean_characters}


def _place(kind: str, name: str) -> Path:
    """The path that a user means; raises BadInput where there can be none, such as with NUL or a stranger's home."""
    if len(name) > MOST_NAME_CHARACTERS:
        raise BadInput(f"The {kind} {name[:40]!r}… has {len(name):,} characters; {MOST_NAME_CHARACTERS:,} can be.")
    try:
        return Path(name).expanduser().resolve()
    except (OSError, RuntimeError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else str(error)) or type(error).__name__
        raise BadInput(f"The {kind} {name!r} cannot be looked for: {reason.rstrip('.')}.") from error


def _is_there(look: Callable[[], bool]) -> bool:
    """Whether there is such a file or folder; what this user may not look at, or is too long a name, is not there."""
    try:
        return look()
    except OSError:
        return False


def _files(folder: Path) -> list[Path]:
    """The files of a folder; raises BadInput where it cannot be read."""
    try:
        return [path for path in folder.iterdir() if path.is_file()]
    except OSError as error:
        raise BadInput(f"{folder} cannot be read: {error.strerror or error}.") from error


def _check_place(settings: Settings, path: Path) -> None:
    """Where others reach the page, none of them names files outside of the home, nor learns whether they are there."""
    if settings.confined and not path.is_relative_to(settings.home):
        raise NotAllowed(
            f"{path.name!r} lies outside of the lab's own folder: on a dashboard that others reach, tables are "
            "uploaded, and other files are named by command first."
        )


def _names(store: Store, kind: str) -> list[str]:
    query = select(sources.c.kind, sources.c.name).where(sources.c.kind == kind).order_by(sources.c.name)
    return [row["name"] for row in store.read(sources, query)]


def notes_on(store: Store, name: str) -> list[str]:
    """What was left out of a task's data or is odd about them, as far as they have been looked into."""
    query = select(sources.c.kind, sources.c.name, sources.c.notes).where(sources.c.kind == "task")
    rows = [(row["name"], row["notes"]) for row in store.read(sources, query)]
    return next((notes for found, notes in rows if found == name or found.startswith(f"{name} ")), [])


def _facts(
    store: Store,
    settings: Settings,
    kind: str,
    name: str,
    fingerprint: str,
    row: dict[str, Any],
    report: Report = lambda _: None,
    files: Sequence[Path] = (),
) -> dict[str, Any]:
    """What a child finds out of the row, remembered by the fingerprint of its files.

    What it may take for that goes by those `files`; of what is downloaded there are none, and no limits.
    """
    known = _known(store, kind, name)
    if known and (known["fingerprint"] == fingerprint or store.refusal):
        return dict(known["facts"])
    store.check_may_write()
    from pmb.lab.executors import ask, look_limits  # time to import that a cached answer needs not take

    try:
        job = {"kind": f"inspect {kind}", "row": row, "assets": str(settings.assets)}
        found = ask(job, report, look_limits(files) if files else None)
    except RunFailed as error:  # whatever is wrong, it is with what the user named
        raise BadInput(str(error)) from error
    with store.connect() as connection:
        connection.execute(delete(sources).where(sources.c.kind == kind, sources.c.name == name))
        new = {"kind": kind, "name": name, "fingerprint": fingerprint, "facts": found["row"], "notes": found["notes"]}
        connection.execute(store.insert_new(sources), new | {"inspected_at": time.time()})
    return dict(found["row"])


def _known(store: Store, kind: str, name: str) -> Row | None:
    """What was found out, where it was; a damaged row is as none, so that it is found out anew."""
    found = store.read(sources, select(sources).where(sources.c.kind == kind, sources.c.name == name))
    return found[0] if found else None


def _fingerprint(files: Iterable[Path], reading: int = 1) -> str:
    """Changes whenever a file is added, taken away or written, or when they are read otherwise."""
    stats: list[object] = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in sorted(files)]
    return hashlib.sha256(json.dumps(stats if reading == 1 else [reading, *stats]).encode()).hexdigest()
