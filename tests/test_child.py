"""What the child says of an exception that nobody foresaw: which job broke off, at which step, and what to try."""

from __future__ import annotations

from dataclasses import asdict
from types import SimpleNamespace
from typing import Any

import pytest

from pmb.catalog.models import MODELS
from pmb.catalog.tasks import TASKS
from pmb.lab.child import _answer
from pmb.spec import Progress
from tests.conftest import spec

ROWS = {"model": asdict(MODELS["minilm-l6"]), "task": asdict(TASKS["rotten-tomatoes"]), "assets": "nowhere"}
DATA = {"task": ROWS["task"], "assets": "nowhere"}
OTHER = {"model": ROWS["model"] | {"id": "owner/model"}}  # type: ignore[operator]
SPEC = {"spec": spec().to_dict(), "threads": 1, "alone": False, "timed_devices": []}
TRY = "Try the same with minilm-l6: if that works, the fault lies in this model or its files."


def answered(job: dict[str, Any], error: Exception, *phases: str) -> str:
    """What is sent last by an engine that reports these phases and breaks off."""

    def break_off(*arguments: Any) -> None:
        report = next(one for one in arguments if callable(one))
        for phase in phases:
            report(Progress(phase))
        raise error

    def inspect(*_: Any) -> None:
        raise error

    engine = SimpleNamespace(
        run=break_off,
        measure_similarity=break_off,
        measure_zero_layers=break_off,
        inspect_model=inspect,
        use_threads=lambda _: None,
    )
    messages: list[dict[str, Any]] = []
    _answer(job, engine, messages.append, lambda *_: None)
    sentence: str = messages[-1]["error"]
    return sentence


@pytest.mark.parametrize(
    ("job", "error", "phases", "sentence"),
    [
        (
            {"kind": "run"} | ROWS | SPEC | OTHER,
            IndexError("index 2 is out of range\nand more"),
            ("loading", "training"),
            f"The run broke off while training, with IndexError: index 2 is out of range. {TRY}",
        ),
        (
            {"kind": "run"} | ROWS | SPEC,
            ValueError("no.\n"),
            (),
            "The run broke off, with ValueError: no. `python -m pmb doctor` checks this installation.",
        ),
        (
            {"kind": "similarity", "sentences": 9} | ROWS | OTHER,
            KeyError(0),
            ("loading",),
            f"Measuring the layers broke off while loading, with KeyError: 0. {TRY}",
        ),
        (
            {"kind": "zero layers", "recipe": spec().recipe.to_dict(), "seeds": [0]} | DATA,
            KeyError(1),
            ("fitting a bag of words",),
            "Measuring zero layers broke off while fitting a bag of words, with KeyError: 1. `python -m pmb doctor` "
            "checks this installation.",
        ),
        (
            {"kind": "inspect model", "row": OTHER["model"], "assets": "nowhere"},
            RuntimeError(),
            (),
            f"Looking into the model broke off, with RuntimeError: no further words. {TRY}",
        ),
        (
            {"kind": "run"} | ROWS | SPEC,
            OSError(28, "No space left on device"),
            ("loading",),
            "The run could not read or write a file while loading: No space left on device.",
        ),
    ],
)
def test_an_unforeseen_exception_names_the_step_and_what_to_try(
    job: dict[str, Any], error: Exception, phases: tuple[str, ...], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert answered(job, error, *phases) == sentence
    assert type(error).__name__ in capsys.readouterr().err  # the traceback stays in the child's log
