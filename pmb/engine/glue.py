"""GLUE: in its official layout, tab-separated files in which quotes are characters; and in Parquet, as on the Hub."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pmb.bounds import MOST_CELL_CHARACTERS, MOST_COLUMNS, MOST_GLUE_MEGABYTES, MOST_ROWS
from pmb.engine.examples import Example, TaskData, in_hash_order
from pmb.errors import BadInput

SCORE_DECIMALS = 3  # of STS-B
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
    hub_texts: tuple[str, ...] = ()  # the columns as the Hub calls them, where it does otherwise
    hub_names: tuple[str, ...] = ()  # the labels as the Hub calls them, in the same order as `coding`


ENTAILMENT = ("entailment", "not_entailment")
LAYOUTS = {
    "sst2": Layout(("sentence",), "label", ("0", "1"), hub_names=("negative", "positive")),
    "mrpc": Layout(
        ("#1 String", "#2 String"),
        "Quality",
        ("0", "1"),
        hub_texts=("sentence1", "sentence2"),
        hub_names=("not_equivalent", "equivalent"),
    ),
    "rte": Layout(("sentence1", "sentence2"), "label", ENTAILMENT, hub_names=ENTAILMENT),
    "cola": Layout(
        ("sentence",),
        "label",
        ("0", "1"),
        columns=("source", "label", "mark", "sentence"),
        hub_names=("unacceptable", "acceptable"),
    ),
    "stsb": Layout(("sentence1", "sentence2"), "score", ()),
    "qnli": Layout(("question", "sentence"), "label", ENTAILMENT, hub_names=ENTAILMENT),
    "qqp": Layout(("question1", "question2"), "is_duplicate", ("0", "1"), hub_names=("not_duplicate", "duplicate")),
    "mnli": Layout(
        ("sentence1", "sentence2"),
        "gold_label",
        ("entailment", "neutral", "contradiction"),
        dev=(("", "dev_matched.tsv"), ("mismatched", "dev_mismatched.tsv")),
        no_label="-",
        hub_texts=("premise", "hypothesis"),
        hub_names=("entailment", "neutral", "contradiction"),
    ),
    "wnli": Layout(("sentence1", "sentence2"), "label", ("0", "1"), hub_names=("not_entailment", "entailment")),
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


def load_hub_glue(task: str, folder: Path) -> TaskData:
    """Read a task from the Parquet files of the Hub's GLUE in `folder`; raises BadInput with the file and the row.

    Labels are indices there, whose names must be the expected ones in the expected order; -1 stands where there is no
    label. STS-B's scores are rounded to the three decimals that its authors wrote, since they are stored as float32.
    """
    layout, notes = LAYOUTS[task], _Notes()
    train = _read_parquet(folder, f"{task}/train-*.parquet", layout, notes)
    devs = {
        name: _read_parquet(folder, f"{task}/{Path(file).stem.replace('dev', 'validation')}-*.parquet", layout, notes)
        for name, file in layout.dev
    }
    return TaskData(in_hash_order(train), devs.pop(""), devs, tuple(notes.lines))


def _read_parquet(folder: Path, pattern: str, layout: Layout, notes: _Notes) -> tuple[Example, ...]:
    # Imported here: seconds that files of the official layout need not take.
    import datasets  # type: ignore[import-untyped]

    from pmb.engine.parquet import check_parquet

    paths = sorted(folder.glob(pattern))
    if not paths:
        raise BadInput(f"{folder} has no file {pattern}.")
    datasets.disable_progress_bars()
    try:
        for path in paths:
            check_parquet(path)
        table = datasets.load_dataset("parquet", data_files=[str(path) for path in paths], split="train")
    except BadInput:
        raise
    except (datasets.exceptions.DatasetGenerationError, ValueError, OSError) as error:
        raise BadInput(
            f"{paths[0].name} of {folder} cannot be read; delete it, so that it is fetched again."
        ) from error
    texts = layout.hub_texts or layout.texts
    if missing := [name for name in (*texts, "label") if name not in table.column_names]:
        raise BadInput(f"{paths[0].name} has no column {missing[0]!r}; it has {', '.join(table.column_names)}.")
    names = getattr(table.features["label"], "names", None)
    if names is not None and tuple(names) != layout.hub_names:
        raise BadInput(
            f"{paths[0].name} has the labels {', '.join(names)}; {', '.join(layout.hub_names)} are expected."
        )
    faults: list[str] = []
    examples = []
    for number, row in enumerate(table, 1):
        label, words = row["label"], [row[name] for name in texts]
        known = isinstance(label, (int, float)) and math.isfinite(label)
        if not known or (layout.coding and label not in range(len(layout.coding))):
            faults.append(f"row {number}, which has no label")
        elif not all(isinstance(text, str) and len(text) <= MOST_CELL_CHARACTERS for text in words):
            faults.append(f"row {number}, which has no text, or too long a one")
        else:
            given = int(label) if layout.coding else round(float(label), SCORE_DECIMALS)
            examples.append(Example(tuple(text.strip() for text in words), given))
    notes.add(paths[0], faults)
    if not examples:
        raise BadInput(f"{paths[0].name} of {folder} has no examples.")
    return tuple(examples)


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
        if number > MOST_ROWS:
            raise BadInput(f"{path} has more than {MOST_ROWS:,} lines, which is as many as are allowed.")
        cells = line.split("\t", MOST_COLUMNS)
        if len(cells) > MOST_COLUMNS:
            raise BadInput(f"{path} line {number} has more than {MOST_COLUMNS:,} columns, which is as many as can be.")
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
        if (megabytes := path.stat().st_size / 1e6) > MOST_GLUE_MEGABYTES:
            raise BadInput(f"{path} has {megabytes:,.0f} MB; at most {MOST_GLUE_MEGABYTES:,} are allowed.")
        content = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise BadInput(f"{path} is not there; the official GLUE layout has it.") from None
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise BadInput(f"{path} is not UTF-8: byte {error.start} cannot be read.") from error
    if (place := content.find("\0")) >= 0:
        raise BadInput(f"{path} is no text: character {place} is NUL.")
    for number, line in enumerate(content.split("\n"), 1):  # a sentence may hold other line ends
        if line.strip():
            yield number, line.removesuffix("\r")


def _example(row: dict[str, str], layout: Layout, path: Path, number: int) -> Example:
    written = row[layout.label].strip()
    texts = tuple(row[name].strip() for name in layout.texts)
    if (longest := max(map(len, texts))) > MOST_CELL_CHARACTERS:
        raise BadInput(f"{path} line {number} has a text of {longest:,} characters; {MOST_CELL_CHARACTERS:,} can be.")
    if layout.coding:
        if written not in layout.coding:
            raise BadInput(f"{path} line {number}: label {written!r} is none of {', '.join(layout.coding)}.")
        return Example(texts, layout.coding.index(written))
    try:
        score = float(written)
    except ValueError:
        raise BadInput(f"{path} line {number}: {layout.label} {written!r} is not a number.") from None
    if not math.isfinite(score):
        raise BadInput(f"{path} line {number}: {layout.label} {written!r} is no finite number.")
    return Example(texts, score)
