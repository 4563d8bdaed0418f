"""GLUE in its official layout: a folder a task, tab-separated files in which quotes are characters like others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pmb.engine.examples import Example, TaskData, in_hash_order
from pmb.errors import BadInput

NAMED_LINES = 5  # so many faulty lines are named one by one


@dataclass(frozen=True, slots=True)
class Layout:
    """Which columns of a task's files matter, and how its labels are written."""

    texts: tuple[str, ...]
    label: str
    coding: tuple[str, ...]  # in the order of the catalog's labels; empty: a number
    columns: tuple[str, ...] = ()  # of files without a header
    dev: tuple[tuple[str, str], ...] = (("", "dev.tsv"),)  # (name, file); the first is the one that is scored
    no_label: str = ""  # what stands where the annotators did not agree


LAYOUTS = {
    "sst2": Layout(("sentence",), "label", ("0", "1")),
    "mrpc": Layout(("#1 String", "#2 String"), "Quality", ("0", "1")),
    "rte": Layout(("sentence1", "sentence2"), "label", ("entailment", "not_entailment")),
    "cola": Layout(("sentence",), "label", ("0", "1"), columns=("source", "label", "mark", "sentence")),
    "stsb": Layout(("sentence1", "sentence2"), "score", ()),
    "qnli": Layout(("question", "sentence"), "label", ("entailment", "not_entailment")),
    "qqp": Layout(("question1", "question2"), "is_duplicate", ("0", "1")),
    "mnli": Layout(
        ("sentence1", "sentence2"),
        "gold_label",
        ("entailment", "neutral", "contradiction"),
        dev=(("", "dev_matched.tsv"), ("mismatched", "dev_mismatched.tsv")),
        no_label="-",
    ),
    "wnli": Layout(("sentence1", "sentence2"), "label", ("0", "1")),
}
MSR_FILE, MSR_DEV_IDS = "msr_paraphrase_train.txt", "dev_ids.tsv"  # MRPC as Microsoft packs it


@dataclass(slots=True)
class _Notes:
    """What was left out, in words."""

    lines: list[str] = field(default_factory=list)

    def add(self, path: Path, faults: Sequence[str]) -> None:
        if faults:
            more = f" and {len(faults) - NAMED_LINES} more" if len(faults) > NAMED_LINES else ""
            self.lines.append(f"{path.name}: left out {'; '.join(faults[:NAMED_LINES])}{more}.")


def load_glue(task: str, folder: Path) -> TaskData:
    """Read a task from its folder; raises BadInput with the file, and the line where one is at fault.

    Train is put into the order of hashes, since a recipe may take the first part of it and some files are sorted. A
    line with too few columns is left out and named in the notes; an unknown label ends the reading.
    """
    layout, notes = LAYOUTS[task], _Notes()
    if task == "mrpc" and not (folder / "train.tsv").is_file() and (folder / MSR_FILE).is_file():
        return _from_msr(layout, folder, notes)
    train = _read(folder / "train.tsv", layout, notes)
    devs = {name: _read(folder / file, layout, notes) for name, file in layout.dev}
    return TaskData(in_hash_order(train), devs.pop(""), devs, tuple(notes.lines))


def _from_msr(layout: Layout, folder: Path, notes: _Notes) -> TaskData:
    """MRPC from Microsoft's own file, whose dev pairs a list of ids names."""
    if not (folder / MSR_DEV_IDS).is_file():
        raise BadInput(f"{folder} has {MSR_FILE} but not {MSR_DEV_IDS}, which says which pairs are dev; GLUE has both.")
    dev_ids = {tuple(line.split("\t")) for _, line in _lines(folder / MSR_DEV_IDS)}
    parts: dict[bool, list[Example]] = {True: [], False: []}
    faults: list[str] = []
    for number, row in _rows(folder / MSR_FILE, layout, faults):
        in_dev = (row["#1 ID"], row["#2 ID"]) in dev_ids
        parts[in_dev].append(_example(row, layout, folder / MSR_FILE, number))
    notes.add(folder / MSR_FILE, faults)
    return TaskData(in_hash_order(parts[False]), tuple(parts[True]), {}, tuple(notes.lines))


def _read(path: Path, layout: Layout, notes: _Notes) -> tuple[Example, ...]:
    faults: list[str] = []
    examples = []
    for number, row in _rows(path, layout, faults):
        if layout.no_label and row[layout.label] == layout.no_label:
            faults.append(f"line {number}, which has no label")
        else:
            examples.append(_example(row, layout, path, number))
    notes.add(path, faults)
    if not examples:
        raise BadInput(f"{path} has no examples.")
    return tuple(examples)


def _rows(path: Path, layout: Layout, faults: list[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Line numbers, counted from 1, and rows by column; adds lines with too few columns to `faults`."""
    columns = layout.columns
    wanted = (*layout.texts, layout.label)
    for number, line in _lines(path):
        cells = line.split("\t")
        if not columns:
            columns = tuple(cells)
            if missing := [name for name in wanted if name not in columns]:
                raise BadInput(f"{path} has no column {missing[0]!r}; it has {', '.join(columns)}.")
        elif len(cells) <= max(columns.index(name) for name in wanted):
            faults.append(f"line {number}, which has {len(cells)} of {len(columns)} columns")
        else:
            yield number, dict(zip(columns, cells, strict=False))


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        content = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise BadInput(f"{path} is not there; the official GLUE layout has it.") from None
    except UnicodeDecodeError as error:
        raise BadInput(f"{path} is not UTF-8: byte {error.start} cannot be read.") from error
    for number, line in enumerate(content.split("\n"), 1):  # a sentence may hold other line ends
        if line.strip():
            yield number, line.removesuffix("\r")


def _example(row: dict[str, str], layout: Layout, path: Path, number: int) -> Example:
    written = row[layout.label].strip()
    texts = tuple(row[name].strip() for name in layout.texts)
    if layout.coding:
        if written not in layout.coding:
            raise BadInput(f"{path} line {number}: label {written!r} is none of {', '.join(layout.coding)}.")
        return Example(texts, layout.coding.index(written))
    try:
        return Example(texts, float(written))
    except ValueError:
        raise BadInput(f"{path} line {number}: {layout.label} {written!r} is not a number.") from None
