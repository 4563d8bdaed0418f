"""The process in which torch lives: reads one job from stdin, writes JSON lines to stdout, ends with its parent.

Started by pmb.lab.executors as `python -m pmb.lab.child [--waited-for] [--light]`. It imports torch first, says what it
computes on and then waits, so that a child started ahead of time answers at once; a light one imports none of that. A
first job "warm up" (with "model", "task", "assets") is not answered.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

from pmb.catalog.models import BaseModel
from pmb.catalog.tasks import Table, Task
from pmb.errors import PmbError
from pmb.spec import Progress, Recipe, RunSpec

NICENESS = 10  # the page stays quick while a fine-tune runs
AUTOGROUP = Path("/proc/self/autogroup")
WAITED_FOR = "--waited-for"  # an argument: somebody waits for the answer, so that this process gives way to none
EMBEDDED = "minilm-l6"  # a model that is always here, to try whether another one is at fault
# The kinds of jobs, at the beginning of a sentence; all others are of a run.
JOBS = {
    "inspect model": "Looking into the model",
    "inspect task": "Looking into the data",
    "preview table": "Looking into the table",
    "dev": "Reading the data",
    "latency": "Timing",
    "token lengths": "Counting tokens",
    "zero layers": "Measuring zero layers",
    "download": "The download",
    "similarity": "Measuring the layers",
    "blocks": "Measuring the layers",
    "greedy": "Measuring the layers",
    "probe": "Measuring the layers",
    "preview": "The preview",
    "export": "The export",
    "try": "Trying the model",
}
LIGHT = "--light"  # an argument: the job is one of those that need no torch, LIGHT_KINDS
LIGHT_KINDS = ("inspect task", "preview table", "dev")
REPORT_SECONDS = 0.25  # between two progress messages

Send = Callable[[dict[str, Any]], None]


def give_way() -> None:
    """Let what else computes on this machine go first.

    Linux may weigh sessions and not processes ("autogroup"), and a child is a session of its own: then its niceness
    counts for nothing among its neighbours, and that of its session does.
    """
    if hasattr(os, "nice"):  # not on Windows
        os.nice(NICENESS)
    with suppress(OSError):  # no Linux, or one that weighs no sessions
        AUTOGROUP.write_text(str(NICENESS), encoding="ascii")


def main() -> None:
    """Do one job and end; of the kind "try" as many as come."""
    if WAITED_FOR not in sys.argv:
        give_way()
    send = _sender(_private_stdout())
    if LIGHT in sys.argv:
        send({"device": ""})
        if job := _next_job():
            threading.Thread(target=_end_with_parent, daemon=True).start()
            _answer(job, None, send, lambda *_: None)
        return
    gc.disable()  # looking for garbage among what is imported, which all stays, takes a sixth of the start
    from pmb.engine import device, shortage
    from pmb.engine import run as engine  # torch: seconds

    gc.freeze()
    gc.enable()
    engine.quieten()
    send({"device": device.device_name(device.pick_device())})
    job = _next_job()
    if job and job["kind"] == "warm up":
        try:
            engine.warm_up(*_rows(job), Path(job["assets"]))
        except Exception:  # the run that comes will say what is wrong
            traceback.print_exc()
        job = _next_job()
    if not job:
        return
    while job and job["kind"] == "try":  # until the parent closes stdin
        _answer(job, engine, send, shortage.shortage)
        job = _next_job()
    if job:
        threading.Thread(target=_end_with_parent, daemon=True).start()
        _answer(job, engine, send, shortage.shortage)


def _answer(job: dict[str, Any], engine: Any, send: Send, shortage: Callable[..., str | None]) -> None:
    """Send the answer to a job, or what went wrong as a sentence."""
    step = ""

    def send_and_note(message: dict[str, Any]) -> None:
        nonlocal step
        step = message["progress"]["phase"] if "progress" in message else step
        send(message)

    try:
        send(do(job, engine, send_and_note))
    except PmbError as error:
        send({"error": str(error)})
    except Exception as error:  # the border of the process: whatever it is, the worker must hear of it
        traceback.print_exc()
        send({"error": shortage(error, _recipe(job)) or _sentence(error, job, step)})


def _recipe(job: dict[str, Any]) -> Recipe | None:
    return Recipe(**job["spec"]["recipe"]) if "spec" in job else None


def _sentence(error: Exception, job: dict[str, Any], step: str) -> str:
    """Which job broke off at which step, and what to try, for a user."""
    what = JOBS.get(job["kind"], "The run")
    when = f" while {step}" if step else ""
    if isinstance(error, OSError):
        return f"{what} could not read or write a file{when}: {error.strerror or error}."
    words = _first_line(error).rstrip(".")
    return f"{what} broke off{when}, with {type(error).__name__}: {words}. {_advice(job)}"


def _advice(job: dict[str, Any]) -> str:
    """What a user can do about an exception that the lab does not know."""
    model = (job.get("model") or {}).get("id") or (job["row"]["id"] if job["kind"] == "inspect model" else "")
    if model and model != EMBEDDED:
        return f"Try the same with {EMBEDDED}: if that works, the fault lies in this model or its files."
    return "`python -m pmb doctor` checks this installation."


def do(job: dict[str, Any], engine: Any, send: Send) -> dict[str, Any]:
    """The answer to a job, a dict with "assets" and "kind".

    Kinds: "run" with "spec", "threads", "alone", "timed_devices", and optionally "zero_layers" (true: measure these
    too), and "checkpoints" (a folder) with "checkpoint_seconds" to go on from a saved epoch; where more is measured
    after the run, the result is sent before that, with "timing".
    "token lengths", which gives None where the model or the data are not on this machine;
    "latency" with "depths" and the name of a "device" or None; "similarity", "blocks" and "greedy" with "sentences";
    "probe" with "spec", "threads" and "sentences" (0: contribution is known); "preview" with "strategies", more cuts
    "also", "scores", "known" cuts, "threads", "sentences", "train_sentences" and "dev_sentences"; "export" with "spec",
    "threads", "weights" and "folder" (paths), "onnx" and "int8"; "keep" with "spec", "threads" and "weights"; all of
    these with the rows "model" and "task". "download" with the row "model"; "inspect model" and "inspect task" with a
    "row"; "dev" with "task" and the numbers "rows" of the examples whose texts are wanted; "zero layers" with "task",
    "recipe" and "seeds"; "preview table" with "table"; "try" with "weights" (paths), "max_lengths", "texts", "timings"
    and "threads".
    """
    assets_folder, report = Path(job["assets"]), _throttled(send)
    if job["kind"] == "inspect model":
        return {"row": asdict(engine.inspect_model(BaseModel.from_dict(job["row"]), assets_folder)), "notes": []}
    if job["kind"] == "download":
        from pmb.engine import multipart  # for this job alone

        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # who is asked to end leaves nothing half-written
        multipart.fetch(assets_folder, BaseModel.from_dict(job["model"]), report)
        return {"downloaded": True}
    if job["kind"] == "inspect task":
        from pmb.engine import data

        row, notes = data.inspect_task(Task.from_dict(job["row"]), assets_folder, report)
        return {"row": asdict(row), "notes": list(notes)}
    if job["kind"] == "dev":
        from pmb.engine import data

        labels, texts = data.dev_examples(Task.from_dict(job["task"]), job["rows"], assets_folder, report)
        return {"labels": labels, "texts": texts}
    if job["kind"] == "zero layers":
        task, recipe = Task.from_dict(job["task"]), Recipe(**job["recipe"])
        measured = [engine.measure_zero_layers(task, recipe, seed, assets_folder, report) for seed in job["seeds"]]
        return {"zero_layers": [asdict(one) for one in measured]}
    if job["kind"] == "preview table":
        from pmb.engine import tables  # pandas: time that no other job needs

        return {"preview": asdict(tables.preview(Table(**job["table"])))}
    if job["kind"] == "try":
        from pmb.engine import trying  # for this job alone

        engine.use_threads(job["threads"])
        texts, folders = [tuple(parts) for parts in job["texts"]], [Path(folder) for folder in job["weights"]]
        return {"tried": [asdict(one) for one in trying.answers(folders, job["max_lengths"], texts, job["timings"])]}
    model, task = _rows(job)
    if job["kind"] == "token lengths":
        counts = engine.count_tokens(model, task, assets_folder, report)
        return {"token_lengths": counts and asdict(counts)}
    if job["kind"] == "latency":
        latencies = engine.measure_latency(model, task, job["depths"], assets_folder, job["device"])
        return {"latencies": [asdict(latency) for latency in latencies]}
    if job["kind"] == "preview":
        return _preview(job, engine, model, task, report, send)
    if job["kind"] == "blocks":
        return {"scores": engine.measure_blocks(model, task, job["sentences"], assets_folder, report)}
    if job["kind"] == "greedy":
        return {"scores": engine.measure_greedy(model, task, job["sentences"], assets_folder, report)}
    if job["kind"] == "similarity":
        return {"scores": engine.measure_similarity(model, task, job["sentences"], assets_folder, report)}
    spec = RunSpec.from_dict(job["spec"])
    engine.use_threads(job["threads"])
    if job["kind"] == "probe":
        sentences = job["sentences"]
        scores = engine.measure_similarity(model, task, sentences, assets_folder, report) if sentences else None
        return {"probe": asdict(engine.probe_layers(spec, model, task, assets_folder, report)), "scores": scores}
    if job["kind"] == "keep":
        from pmb.engine import trying  # for this job alone

        trying.keep_for_trying(spec, model, task, assets_folder, Path(job["weights"]), report)
        return {"kept": True}
    if job["kind"] == "export":
        from pmb.engine import export  # for this job alone

        weights, folder, onnx, int8 = Path(job["weights"]), Path(job["folder"]), job["onnx"], job["int8"]
        found = export.export(spec, model, task, assets_folder, weights, folder, onnx, int8, report)
        return {"exported": asdict(found)}
    saving = engine.Saving(Path(job["checkpoints"]), job["checkpoint_seconds"]) if "checkpoints" in job else None
    result = engine.run(spec, model, task, assets_folder, report, saving)
    answer: dict[str, Any] = {"result": asdict(result), "latencies": [], "zero_layers": None}
    depth = len(spec.kept_layers)
    to_time = job["alone"] and depth < spec.num_hidden_layers and result.device not in job["timed_devices"]
    if to_time or job.get("zero_layers"):
        send(answer | {"timing": True})
    if job.get("zero_layers"):
        with _result_comes_first():
            answer["zero_layers"] = asdict(
                engine.measure_zero_layers(task, spec.recipe, spec.seed, assets_folder, report)
            )
    if to_time:
        send({"progress": asdict(Progress("timing"))})
        with _result_comes_first():
            latencies = engine.measure_latency(model, task, [depth], assets_folder, result.device)
            answer["latencies"] = [asdict(latency) for latency in latencies]
    return answer


@contextmanager
def _result_comes_first() -> Iterator[None]:
    """A measurement after a run: what goes wrong in it is logged, and is no reason to lose the run's result."""
    try:
        yield
    except Exception:
        traceback.print_exc()


def _preview(
    job: dict[str, Any], engine: Any, model: BaseModel, task: Task, report: Callable[[Progress], None], send: Send
) -> dict[str, Any]:
    """Send what is measured bit by bit: "scores" of contribution where they were not known, and each cut."""
    assets_folder, strategies, scores = Path(job["assets"]), job["strategies"], job["scores"]
    known = {tuple(kept) for kept in job["known"]}
    engine.use_threads(job["threads"])

    def tell(kept: tuple[int, ...], score: float, device: str) -> None:
        known.add(kept)
        send({"kept": kept, "score": score, "computed_on": device})

    def preview(names: list[str], also: list[tuple[int, ...]]) -> None:
        sizes = job["train_sentences"], job["dev_sentences"]
        engine.preview_cuts(model, task, names, also, scores, known, *sizes, assets_folder, report, tell)

    if "contribution" in strategies and scores is None and not model.shared:
        if strategies[0] != "contribution":
            preview(strategies[:1], [])
        scores = engine.measure_similarity(model, task, job["sentences"], assets_folder, report)
        send({"scores": scores})
    preview(strategies, [tuple(kept) for kept in job["also"]])
    return {}


def _rows(job: dict[str, Any]) -> tuple[BaseModel, Task]:
    return BaseModel.from_dict(job["model"]), Task.from_dict(job["task"])


def _next_job() -> dict[str, Any] | None:
    """The next line from the parent; None when it is gone."""
    line = sys.stdin.readline()
    return json.loads(line) if line else None


def _private_stdout() -> TextIO:
    """Keep stdout for messages and send what libraries print to stderr instead."""
    messages = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return messages


def _sender(messages: TextIO) -> Send:
    def send(message: dict[str, Any]) -> None:
        messages.write(json.dumps(message) + "\n")
        messages.flush()

    return send


def _throttled(send: Send) -> Callable[[Progress], None]:
    """Send progress at most every REPORT_SECONDS within a phase."""
    last_time, last_phase = 0.0, ""

    def report(progress: Progress) -> None:
        nonlocal last_time, last_phase
        now = time.monotonic()
        if progress.phase != last_phase or now - last_time >= REPORT_SECONDS:
            last_time, last_phase = now, progress.phase
            send({"progress": asdict(progress)})

    return report


def _end_with_parent() -> None:
    """Stdin closes when the parent dies, however it dies."""
    sys.stdin.read()
    os._exit(1)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or ["no further words"])[0]


if __name__ == "__main__":
    main()
