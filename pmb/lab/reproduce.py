"""Rows of an exported table of runs, made again and set beside what the table says."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pmb.bounds import MOST_MEGABYTES
from pmb.errors import BadInput, PmbError
from pmb.insight.again import Again, compared, digest, sentence
from pmb.lab.executors import Child
from pmb.lab.exports import threads_of
from pmb.lab.listing import FORMULAS
from pmb.lab.queue import spec_of_row
from pmb.lab.results import predictions_of
from pmb.lab.rows import row_fault
from pmb.lab.schema import runs
from pmb.lab.sources import rows_of
from pmb.lab.store import Row, Store
from pmb.settings import Settings
from pmb.spec import Report, RunSpec
from pmb.strict import parse

WHOLE_NUMBERS = ("num_hidden_layers", "seed")
NUMBERS = ("score", "score_low", "score_high")
JSON = ("kept_layers", "recipe_values", "versions")
PLAIN = ("key", "model", "model_revision", "task", "task_revision", "recipe", "procedure", "state")
RESULT = ("metric", "device", "machine")
VERDICTS = ("same", "within noise", "differs", "failed")


@dataclass(frozen=True, slots=True)
class Stored:
    """A row of the table: the run, and what was measured of it."""

    line: int
    spec: RunSpec
    row: Row

    @property
    def low(self) -> float:
        """Where the interval of its score begins."""
        return float(self.row["score_low"])

    @property
    def high(self) -> float:
        """Where it ends."""
        return float(self.row["score_high"])


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a row: two results of the same run, or why there is none."""

    stored: Stored
    again: Again | None
    problem: str

    @property
    def verdict(self) -> str:
        """One of VERDICTS; within noise is inside the 95 % interval of the stored score."""
        if self.again is None:
            return "failed"
        if self.again.same:
            return "same"
        return "within noise" if self.stored.low <= self.again.after <= self.stored.high else "differs"


def read_table(path: Path) -> list[Stored]:
    """The finished runs of a table that `runs --csv` wrote; raises BadInput with the line at fault."""
    try:
        if (megabytes := path.stat().st_size / 1e6) > MOST_MEGABYTES:
            raise BadInput(f"{path} has {megabytes:.0f} MB; at most {MOST_MEGABYTES} are allowed.")
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            needed = (*PLAIN, *WHOLE_NUMBERS, *NUMBERS, *JSON, *RESULT)
            if missing := [name for name in needed if name not in (reader.fieldnames or ())]:
                raise BadInput(
                    f"{path} has no column {missing[0]!r}: a table that `python -m pmb runs --csv` wrote is needed."
                )
            found = [_stored(path, reader.line_num, row) for row in reader if row["state"] == "done"]
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror or error}.") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadInput(f"{path} is no CSV file in UTF-8: {error}.") from error
    if not found:
        raise BadInput(f"{path} has no finished run in it.")
    return found


def make_again(store: Store, settings: Settings, stored: Stored, report: Report = lambda _: None) -> Outcome:
    """Do the run in a child, on as many threads as then; nothing is written into the store."""
    try:
        model, task = rows_of(store, settings, stored.spec)
        job: dict[str, Any] = {"kind": "run", "spec": stored.spec.to_dict(), "assets": str(settings.assets)}
        job |= {"model": asdict(model), "task": asdict(task), "threads": threads_of(stored.row)}
        result = Child().ask(job | {"alone": False, "timed_devices": []}, report)["result"]
    except PmbError as error:
        return Outcome(stored, None, str(error))
    known = predictions_of(store, [stored.spec.key], task, len(result["predictions"]))
    predictions = known.get(stored.spec.key)
    if predictions and digest(predictions) != stored.row["predictions_digest"]:
        predictions = None  # another machine's, of the same run
    return Outcome(stored, compared(stored.row, result, predictions), "")


def line(outcome: Outcome) -> str:
    """An outcome in a line."""
    spec = outcome.stored.spec
    cut = f"{spec.key[:12]}  {spec.model} {spec.task} {spec.recipe.name} kept {','.join(map(str, spec.kept_layers))}"
    what = outcome.problem if outcome.again is None else sentence(outcome.again)
    return f"{outcome.verdict:<12}  {cut} seed {spec.seed}  {what}"


def plain(outcome: Outcome) -> Row:
    """An outcome as JSON-able values."""
    again, spec = outcome.again, outcome.stored.spec
    return {
        "run": spec.key[:12],
        "verdict": outcome.verdict,
        "metric": outcome.stored.row["metric"],
        "score": outcome.stored.row["score"],
        "score_interval": [outcome.stored.low, outcome.stored.high],
        "new_score": again.after if again else None,
        "same_predictions": (again.same if again.changed is not None else None) if again else None,
        "changed_predictions": again.changed if again else None,
        "dev": again.dev if again else None,
        "reasons": list(again.reasons) if again else [],
        "error": outcome.problem or None,
    }


def summary(outcomes: Sequence[Outcome]) -> str:
    """How many runs came out how."""
    counts = Counter(outcome.verdict for outcome in outcomes)
    parts = ", ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICTS)
    return f"{len(outcomes)} run{'s' * (len(outcomes) != 1)}: {parts}."


def _stored(path: Path, line: int, cells: dict[str, str]) -> Stored:
    row: Row = {name: _text(cells[name] or "") for name in (*PLAIN, *RESULT)}
    try:
        row |= {name: int(cells[name] or "") for name in WHOLE_NUMBERS}
        row |= {name: float(cells[name] or "") for name in NUMBERS}
        row |= {name: parse(cells[name] or "", name) for name in JSON}
    except ValueError as error:
        raise BadInput(f"Line {line} of {path} cannot be read as a run: {str(error).rstrip('.')}.") from error
    if why := row_fault(runs, {name: value for name, value in row.items() if name in runs.c}):
        raise BadInput(f"Line {line} of {path} cannot be read as a run: {why}.")
    spec = spec_of_row(row)
    row["predictions_digest"] = cells.get("predictions_digest") or None
    if spec.key != row["key"]:
        raise BadInput(
            f"Line {line} of {path} is not the run {row['key'][:12]} that it names: a value has been changed, or the "
            "table is another version's."
        )
    return Stored(line, spec, row)


def _text(cell: str) -> str:
    """The text before it was kept from being a formula."""
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(FORMULAS) else cell
