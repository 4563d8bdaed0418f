"""Files of others, spoilt at random: each must end in a result or one sentence, and no code in them is run.

Run: python -m tests.fuzz --seconds 60 [--target store] [--seed 1]. A fault names the round, which `--first` repeats.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import math
import os
import random
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import click
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import load_file, save_file
from sqlalchemy import text

from pmb.catalog.models import MODELS
from pmb.catalog.tasks import TASKS, Table
from pmb.engine import surgery, trial
from pmb.engine.glue import LAYOUTS, load_glue
from pmb.engine.run import quieten
from pmb.engine.tables import load_table, preview
from pmb.errors import PmbError
from pmb.lab import lengths, listing, probes, queue, results, zero_layers
from pmb.lab.answer import answer
from pmb.lab.dev import known_dev_labels, save_dev_labels
from pmb.lab.plan import known_layer_scores, scores_identity
from pmb.lab.schema import metadata, runs
from pmb.lab.sources import known_models, known_tasks, notes_on
from pmb.lab.store import (
    damaged_rows,
    get_run,
    list_latencies,
    list_runs,
    open_store,
    save_latencies,
    save_layer_scores,
)
from pmb.settings import Settings
from pmb.spec import Latency, LengthCounts
from tests import zero_layers as made_zero_layers
from tests.app import FULL, finish
from tests.conftest import spec
from tests.models import LAYERS, MARKER, PICKLED, code, make_folder

ODD_BYTES = [
    *(b"\0", b"\xff\xfe", b'"', b"'", b",", b"\t", b"\r", b"\n", b"\n\n", b"[" * 3000, b"{", b"}", b"\\", b"\\ud800"),
    *(
        b"NaN",
        b"nan",
        b"inf",
        b"-1",
        b"1e999",
        b"9" * 400,
        b"null",
        b"true",
        b"\xef\xbb\xbf",
        "é✓".encode("utf-16"),
        b"",
    ),
]
ODD_VALUES: list[Any] = [
    *(
        None,
        True,
        -1,
        0,
        7,
        2**31,
        2**63 - 1,
        0.5,
        1e308,
        float("inf"),
        "",
        "x",
        "a" * 5000,
        "\0",
        b"\xff\xfe",
        b"\0" * 9,
    ),
    *(
        "[",
        "[]",
        "{}",
        "null",
        "[0, 1]",
        "[9]",
        '["a"]',
        "[NaN]",
        '{"name": 1}',
        "[[" * 4000,
        "../../etc/passwd",
        "0,1",
    ),
]
SAMPLE = 500  # bytes that a cut or a repetition moves at most


LABELS = LAYOUTS["rte"].coding


class Fault(AssertionError):
    """Something else than a result or a sentence."""


Reader = Callable[[], object]


@dataclass(frozen=True)
class Target:
    """Valid files, how they are spoilt, and everything that reads them."""

    make: Callable[[Path], object]
    spoil: Callable[[Path, random.Random], None]
    use: Callable[[Path], Iterator[Reader]]


def spoilt(content: bytes, rng: random.Random) -> bytes:
    """Bytes with one to three changes: some overwritten, cut out, repeated, or something odd put in."""
    for _ in range(rng.randint(1, 3)):
        place, length = rng.randrange(len(content) + 1), rng.randint(1, SAMPLE)
        before, there, after = content[:place], content[place : place + length], content[place + length :]
        content = rng.choice(
            [
                before + rng.randbytes(min(length, 9)) + after,
                before + rng.choice(ODD_BYTES) + there + after,
                before + after,
                before + there * rng.randint(2, 30) + after,
                before,
            ]
        )
    return content


def spoil_bytes(folder: Path, rng: random.Random) -> None:
    """Spoil one of the files."""
    path = rng.choice(sorted(folder.iterdir()))
    path.write_bytes(spoilt(path.read_bytes(), rng))


def make_table(folder: Path) -> None:
    """The same forty rows in each format, dialect, encoding and type of column."""
    frame = pd.DataFrame(
        {
            "text": [f'film number {i}, "{"good" if i % 2 else "bad"}" it\'s caf\xe9' for i in range(40)],
            "score": [i / 7 for i in range(40)],
            "label": ["yes" if i % 2 else "no" for i in range(40)],
        }
    )
    frame.to_csv(folder / "t.csv", index=False)
    frame.to_csv(folder / "plain.tsv", index=False, sep="\t", quoting=csv.QUOTE_NONE)
    frame.to_csv(folder / "quoted.tsv", index=False, sep="\t")
    frame.to_csv(folder / "semicolons.csv", index=False, sep=";", decimal=",", encoding="utf-16")
    frame.to_csv(folder / "windows.csv", index=True, encoding="cp1252", lineterminator="\r\n")
    frame.to_csv(folder / "header.csv", index=False, header=False)
    frame.to_csv(folder / "escaped.csv", index=False, doublequote=False, escapechar="\\", quoting=csv.QUOTE_ALL)
    (folder / "excel.csv").write_text("sep=|\n" + frame.to_csv(index=False, sep="|"), encoding="utf-8-sig")
    frame.to_json(folder / "t.jsonl", orient="records", lines=True)
    frame.assign(label=pd.Series([[i % 2] for i in range(40)], dtype=object)).to_json(
        folder / "lists.jsonl", orient="records", lines=True
    )
    frame.to_parquet(folder / "t.parquet")
    as_bytes = {name: [str(cell).encode() for cell in frame[name]] for name in frame}
    for name, kind in (("binary", pa.binary()), ("large", pa.large_binary()), ("string", pa.large_string())):
        columns = {name: pa.array(cells).cast(kind) for name, cells in as_bytes.items()}
        pq.write_table(pa.table(columns), folder / f"{name}.parquet", store_schema=name != "large")
    numbers = {
        "text": pa.array(frame["text"]).dictionary_encode(),
        "label": pa.array([i % 2 for i in range(40)], pa.int8()),
    }
    more = {"score": pa.array(frame["score"], pa.float16()), "label": pa.array([Decimal(i % 3) for i in range(40)])}
    pq.write_table(pa.table(numbers), folder / "dictionary.parquet")
    pq.write_table(pa.table(numbers | more), folder / "decimal.parquet", compression="zstd")


def spoil_table(folder: Path, rng: random.Random) -> None:
    """Leave one of the tables, spoilt."""
    spared = rng.choice(sorted(folder.iterdir()))
    for path in folder.iterdir():
        if path != spared:
            path.unlink()
    spoil_bytes(folder, rng)


def use_table(folder: Path) -> Iterator[Reader]:
    """Look at the tables and load them: as they are, for numbers, and with what a user may say of them."""
    for path in sorted(folder.iterdir()):
        yield partial(preview, Table(str(path)))
        for said in ({}, {"label": "score"}, {"kind": "classes"}, {"kind": "number"}, {"header": "no"}):
            yield partial(load_table, Table(str(path), **said))


def make_glue(folder: Path) -> None:
    """RTE, CoLA and STS-B, each with train and dev side by side."""
    lines = {
        "rte": [
            "index\tsentence1\tsentence2\tlabel",
            *(f"{i}\ta {i}\tb\t{('not_' * (i % 2))}entailment" for i in range(9)),
        ],
        "cola": [f"s\t{i % 2}\t*\tit is {i}" for i in range(9)],
        "stsb": ["index\tsentence1\tsentence2\tscore", *(f"{i}\ta {i}\tb\t{i / 2}" for i in range(9))],
    }
    for task, found in lines.items():
        for file in ("train.tsv", "dev.tsv"):
            (folder / f"{task}-{file}").write_text("\n".join(found) + "\n", encoding="utf-8")


def use_glue(folder: Path) -> Iterator[Reader]:
    """Load every task."""
    for task in ("rte", "cola", "stsb"):
        place = folder / task
        place.mkdir()
        for file in ("train.tsv", "dev.tsv"):
            shutil.copy(folder / f"{task}-{file}", place / file)
        yield partial(load_glue, task, place)


DTYPES = ("float16", "bfloat16", "float64", "float32", "int8", "complex64", "float8_e4m3fn")
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"


def spoil_dtype(folder: Path, rng: random.Random) -> None:
    """Write another type into the config, or give some of the weights one."""
    dtype = rng.choice(DTYPES)
    if rng.random() < 0.5:
        set_in(folder / "config.json", rng.choice(["dtype", "torch_dtype"]), rng.choice([dtype, f"torch.{dtype}"]))
        return
    weights = load_file(folder / "model.safetensors")
    chosen = rng.sample(sorted(weights), rng.choice([1, len(weights)]))
    kind = getattr(torch, dtype)
    save_file(weights | {name: weights[name].to(kind) for name in chosen}, folder / "model.safetensors")


def spoil_layers(folder: Path, rng: random.Random) -> None:
    """Give the config settings with an entry for each layer, or for one more or less."""
    entries: list[Any] = rng.choice(
        [[1, 2, 3, 4], [0.5, None, 0.1], ["full_attention", "sliding_attention"], [[0], [1], [2]]]
    )
    listed = [entries[i % len(entries)] for i in range(LAYERS + rng.choice([-1, 0, 0, 0, 1]))]
    name = rng.choice(["attention_window", "layer_types", "intermediate_size", "num_attention_heads", "pruned_heads"])
    as_dict = rng.random() < 0.3
    set_in(folder / "config.json", name, {str(i): entry for i, entry in enumerate(listed)} if as_dict else listed)


def spoil_outputs(folder: Path, rng: random.Random) -> None:
    """Give the config settings that other programs leave in it, or Git LFS pointers in the place of files."""
    if rng.random() < 0.3:
        rng.choice(sorted(folder.iterdir())).write_text(POINTER, encoding="utf-8")
        return
    name = rng.choice(["return_dict", "output_attentions", "output_hidden_states", "torchscript", "is_decoder"])
    set_in(folder / "config.json", name, rng.choice([True, False, None, 1, "true"]))


def set_in(path: Path, name: str, value: object) -> None:
    """Change one setting of a JSON file."""
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | {name: value}), encoding="utf-8")


def spoil_folder(folder: Path, rng: random.Random) -> None:
    """Spoil a setting of a config, or bytes, or put code and pickles in."""
    way = rng.randrange(8)
    if way > 4:
        (spoil_dtype, spoil_layers, spoil_outputs)[way - 5](folder, rng)
        return
    if way == 0:
        code(**rng.choice([{}, {"model_type": "evil"}]))(folder)
    elif way == 1:
        name = rng.choice(
            ["model.safetensors", "pytorch_model.bin", "vocab.txt", "tokenizer.json", "training_args.bin"]
        )
        (folder / name).write_bytes(PICKLED)
    elif way in (2, 3):
        path = folder / rng.choice(["config.json", "tokenizer_config.json"])
        values = json.loads(path.read_text(encoding="utf-8"))
        odd = [value for value in ODD_VALUES if not isinstance(value, bytes)] + [[], {}, [1], 10_000]
        values[rng.choice([*values, "auto_map", "tokenizer_class", "quantization_config"])] = rng.choice(odd)
        path.write_text(json.dumps(values), encoding="utf-8")
    else:
        spoil_bytes(folder, rng)


def use_folder(folder: Path) -> Iterator[Reader]:
    """Look into the folder and open all of it as a run does; what is accepted is cut, saved and opened again."""
    yield partial(surgery.describe, folder)
    yield partial(surgery.load_tokenizer, folder)
    yield partial(surgery.load_classifier, folder, ("no", "yes"))
    yield partial(trial.check_architecture, folder)
    yield partial(cut_and_saved, folder)


def cut_and_saved(folder: Path) -> None:
    """Cut the model in the folder where the lab accepts it; then it has to be saved, and opened in float32."""
    surgery.describe(folder)
    trial.check_architecture(folder)
    model = surgery.cut(surgery.load_classifier(folder, ("no", "yes")), [0, 2])
    model.save_pretrained(folder / "cut")
    again = surgery.open_classifier(folder / "cut")
    if {value.dtype for value in again.parameters()} != {torch.float32}:
        raise ValueError("a model is not opened in float32")


def settings_of(folder: Path) -> Settings:
    """A store in that folder and nothing else."""
    return Settings(folder, "", "local", folder / "nothing-shipped", None)


def make_store(folder: Path) -> None:
    """A row in nearly every table: finished and waiting runs, speed, contributions, labels, a wish."""
    store = open_store(settings_of(folder))
    for kept in ((0, 1, 2, 3, 4, 5), (0, 1, 2)):
        finish(store, spec(kept, 0, FULL), 0.8)
    queue.submit(store, [spec((0,), 0, FULL), spec((1,), 0, FULL)])
    save_latencies(store, spec(), [Latency(3, 32, 32, "cpu", 2.0, 1.9, 2.1, 9, 0.6, 0.3)])
    save_layer_scores(store, scores_identity(spec()), [0.1] * 6)
    save_dev_labels(store, TASKS["rotten-tomatoes"], [0, 1] * 3000)
    made_zero_layers.save(store, [0.7])
    counts = LengthCounts(train=((9, 4738),), dev=((8, 6000),))
    lengths.save_lengths(store, MODELS["minilm-l6"], TASKS["rotten-tomatoes"], counts)
    probes.ask_for(store, settings_of(folder), MODELS["minilm-l6"], TASKS["rotten-tomatoes"], "standard", [0])
    store.close()


def spoil_store(folder: Path, rng: random.Random) -> None:
    """Write odd values into columns; now and then odd bytes into the file."""
    if rng.random() < 0.1:
        path = folder / "lab.sqlite"
        path.write_bytes(spoilt(path.read_bytes(), rng))
        return
    store = open_store(settings_of(folder))
    for _ in range(rng.randint(1, 3)):
        # Of the runs the most columns: they are what pages read.
        table = runs if rng.random() < 0.6 else rng.choice(metadata.sorted_tables)
        column = rng.choice(list(table.c))
        change = f"UPDATE OR IGNORE {table.name} SET {column.name} = :value WHERE rowid % 3 = :part"  # noqa: S608
        with contextlib.suppress(PmbError), store.connect() as connection:
            connection.execute(text(change), {"value": rng.choice(ODD_VALUES), "part": rng.randrange(3)})
    store.close()


def use_store(folder: Path) -> Iterator[Reader]:
    """Read all that pages, commands and workers read, and take the next run."""
    model, task = MODELS["minilm-l6"], TASKS["rotten-tomatoes"]
    store = open_store(settings_of(folder))
    keys = [spec(kept, 0, FULL).key for kept in ((0, 1, 2, 3, 4, 5), (0, 1, 2), (0,), (1,))]
    readers: list[Reader] = [
        lambda: damaged_rows(store, everything=True),
        lambda: list_runs(store),
        lambda: [get_run(store, key) for key in keys],
        lambda: [answer(store, key, cached=True) for key in keys],
        lambda: results.finished_runs(store, model, task, "standard"),
        lambda: results.measured_configurations(store, task),
        lambda: (results.recent_runs(store, 20), results.last_end(store)),
        lambda: results.predictions_of(store, keys, task, 2000),
        lambda: results.losses_of(store, keys),
        lambda: (listing.count_states(store), listing.count_by_kind(store), listing.count_live(store)),
        lambda: (listing.live_runs(store, 5), listing.live_runs_of(store, model.id, task.id, [(0,), (1,)])),
        lambda: (listing.waiting_by_work(store), [since + 1 for since in listing.waiting_since(store)]),
        lambda: list(listing.exported_runs(store, listing.Filter(words="0"))),
        lambda: listing.write_csv(listing.exported_runs(store, listing.Filter()), io.StringIO()),
        lambda: list_latencies(store, model.id, model.revision),
        lambda: (known_layer_scores(store, model, task), known_dev_labels(store, task)),
        lambda: zero_layers.zero_layers_of(store, task, FULL),
        lambda: lengths.known_longer(store, model, task, FULL),
        lambda: (known_models(store), known_tasks(store), notes_on(store, "sst2")),
        lambda: (probes.probes_of(store, model, task, "standard"), probes.asked_probes(store), probes.take(store)),
        lambda: (queue.list_waiting(store), queue.list_workers(store)),
        lambda: queue.release_lost(store),
        lambda: [queue.claim(store, "worker") for _ in range(3)],
        lambda: queue.submit(store, [spec((0, 1, 2), 0, FULL)]),
        lambda: damaged_rows(store),
    ]
    try:
        yield from readers
    finally:
        store.close()


TARGETS = {
    "table": Target(make_table, spoil_table, use_table),
    "glue": Target(make_glue, spoil_bytes, use_glue),
    "folder": Target(make_folder, spoil_folder, use_folder),
    "store": Target(make_store, spoil_store, use_store),
}


def fuzz(target: str, seed: int, first: int = 0, rounds: int | None = None, seconds: float = math.inf) -> Counter[str]:
    """Spoil and read so many times or so long; returns how often what ended how, raises Fault."""
    chosen, ended = TARGETS[target], Counter[str]()
    end = time.monotonic() + seconds
    with tempfile.TemporaryDirectory() as scratch, contextlib.chdir(scratch):
        whole, folder = Path(scratch, "whole"), Path(scratch, "spoilt")
        whole.mkdir()
        chosen.make(whole)
        number = first
        while time.monotonic() < end and (rounds is None or number < first + rounds):
            shutil.copytree(whole, folder)
            chosen.spoil(folder, random.Random(f"{target} {seed} {number}"))
            try:
                for ending in _endings(chosen.use(folder)):
                    ended[ending] += 1
                if Path(MARKER).exists() or (folder / MARKER).exists():
                    raise ValueError("code in a file was run")
            except Exception as error:
                place = f"{target}, seed {seed}, round {number}"
                raise Fault(f"{place}: {type(error).__name__}: {error}") from error
            shutil.rmtree(folder)
            number += 1
    return ended


def _endings(readers: Iterator[Reader]) -> Iterator[str]:
    """How each reading ends; what is neither a result nor a sentence is raised."""
    while True:
        try:
            read = next(readers)
        except StopIteration:
            return
        except PmbError:  # nothing of it can be opened
            yield "a sentence"
            return
        try:
            read()
        except PmbError as error:
            if "\n" in str(error):
                raise ValueError(f"more than a sentence: {error}") from error
            yield "a sentence"
        else:
            yield "a result"


@click.command()
@click.option("--seconds", type=float, default=60.0, show_default=True, help="For all targets together.")
@click.option("--target", type=click.Choice(list(TARGETS)), help="One of them alone.")
@click.option("--seed", type=int, default=lambda: int.from_bytes(os.urandom(3)), help="By chance where none is given.")
@click.option("--first", type=int, default=0, show_default=True, help="The first round.")
def main(seconds: float, target: str | None, seed: int, first: int) -> None:
    """Spoil files at random and read them; ends at the first fault."""
    quieten()
    names = [target] if target else list(TARGETS)
    for name in names:
        try:
            ended = fuzz(name, seed, first, seconds=seconds / len(names))
        except Fault:
            traceback.print_exc()
            sys.exit(1)
        click.echo(f"{name}, seed {seed}: {', '.join(f'{count} times {ending}' for ending, count in ended.items())}")


if __name__ == "__main__":
    main()
