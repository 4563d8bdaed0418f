"""Taking a model away: whole or not at all, opened by others without code of ours, refused in a sentence."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from pmb.catalog.tasks import TASKS, Task
from pmb.engine import export as engine
from pmb.engine.forward import plain_forward
from pmb.engine.surgery import cut, label_settings
from pmb.errors import NotAllowed, PmbError, RunFailed
from pmb.files import PART
from pmb.lab import exports, queue
from pmb.lab.exports import Forms, export
from pmb.lab.store import Row, Store, get_run
from pmb.settings import Settings
from pmb.spec import Exported, Made, Progress, Report
from tests.app import STANDARD, TOP_2, click, fill, finish, opened, words
from tests.architectures import ARCHITECTURES
from tests.conftest import fill as fill_disk
from tests.conftest import spec
from tests.test_cli import pmb
from tests.test_surgery import batch

LABELS = ("good", "*bad* <b>")
KEPT = (0, 2)
MADE = Made(0.8, (0, 1) * 1000, "test device", "test machine", {"torch": "2.13.0"})

OPEN_ALL = """
import json, sys
from pathlib import Path
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline
found = {}
for folder in sorted(Path(sys.argv[1]).iterdir()):
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    given = json.loads((folder / "given.json").read_text())
    with torch.no_grad():
        logits = model(**{name: torch.tensor(rows) for name, rows in given["inputs"].items()}).logits
    answer = pipeline("text-classification", model=str(folder))("w10 w11", truncation=True)
    config = model.config
    found[folder.name] = {
        "difference": float((logits - torch.tensor(given["logits"])).abs().max()), "depth": config.num_hidden_layers,
        "label": answer[0]["label"], "labels": config.id2label, "problem": config.problem_type}
try:
    import pmb
    found["pmb"] = pmb.__file__
except ModuleNotFoundError:
    pass
print(json.dumps(found))
"""

ONNX_ALONE = """
import json, sys
import numpy as np
import onnxruntime
from tokenizers import Tokenizer
folder, texts = sys.argv[1], json.loads(sys.argv[2])
tokenizer = Tokenizer.from_file(folder + "/tokenizer.json")
answers = {}
for name in ("model", "model_quantized"):
    session = onnxruntime.InferenceSession(f"{folder}/onnx/{name}.onnx", providers=["CPUExecutionProvider"])
    answers[name] = []
    for text in texts:
        one = tokenizer.encode(text)
        given = {"input_ids": np.array([one.ids]), "attention_mask": np.array([one.attention_mask])}
        answers[name].append(int(session.run(["logits"], given)[0].argmax()))
print(json.dumps({"answers": answers, "heavy": sorted({"torch", "transformers", "pmb"} & set(sys.modules))}))
"""


def elsewhere(code: str, folder: Path, *arguments: str) -> Any:
    """What a fresh Python prints that knows the installed packages and no repository."""
    done = subprocess.run(
        [sys.executable, "-I", "-W", "ignore", "-c", code, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def tokenizer() -> PreTrainedTokenizerBase:
    """Of the words w6 to w98, with a file that says "always 12 tokens", as sentence encoders have it."""
    special = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3}
    found = Tokenizer(models.WordLevel(special | {f"w{i}": i for i in range(6, 99)}, "[UNK]"))
    found.pre_tokenizer = pre_tokenizers.Whitespace()  # type: ignore[assignment]
    found.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", None, [("[CLS]", 2), ("[SEP]", 3)])
    found.enable_padding(length=12)
    return PreTrainedTokenizerFast(
        tokenizer_object=found, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    )


def test_every_architecture_is_opened_by_transformers_alone(tmp_path: Path) -> None:
    for architecture in ARCHITECTURES:
        model = cut(architecture.build(), KEPT)
        for name, value in label_settings(LABELS).items():
            setattr(model.config, name, value)
        given = batch(architecture)
        folder = tmp_path / architecture.name
        engine.save(model, tokenizer(), task_of(LABELS), 16, folder)
        inputs = {"input_ids": given.input_ids.tolist(), "attention_mask": given.attention_mask.tolist()}
        with torch.inference_mode():
            logits = plain_forward(model)(replace(given, token_type_ids=None)).tolist()
        (folder / "given.json").write_text(json.dumps({"inputs": inputs, "logits": logits}))
    found = elsewhere(OPEN_ALL, tmp_path.parent, str(tmp_path))
    assert set(found) == {architecture.name for architecture in ARCHITECTURES}
    for name, one in found.items():
        assert one["difference"] < 1e-5, name
        assert one["depth"] == len(KEPT)
        assert one["label"] in LABELS
        assert one["labels"] == {"0": LABELS[0], "1": LABELS[1]}
        assert one["problem"] == "single_label_classification"


def task_of(labels: tuple[str, ...]) -> Task:
    return replace(TASKS["rotten-tomatoes"], labels=labels)


def test_a_regression_says_so_and_the_tokenizer_pads_nothing_by_itself(tmp_path: Path) -> None:
    model = cut(ARCHITECTURES[0].build(), KEPT)
    engine.save(model, tokenizer(), task_of(()), 16, tmp_path / "it")
    assert json.loads((tmp_path / "it" / "config.json").read_text())["problem_type"] == "regression"
    saved = json.loads((tmp_path / "it" / "tokenizer.json").read_text())
    assert saved["padding"] is None
    assert saved["truncation"]["max_length"] == 16
    assert str(tmp_path) not in (tmp_path / "it" / "tokenizer_config.json").read_text()


# In the lab, with a child that only seems to fine-tune


class Pretender:
    """Instead of a child process: writes a small folder, or breaks off half-way with `problem`."""

    jobs: ClassVar[list[Row]] = []
    problem = ""

    def ask(self, job: Row, report: Report) -> Row:
        self.jobs.append(job)
        report(Progress("training", 1, 2))
        folder = Path(job["folder"])
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(b"x" * 5000)
        if self.problem:
            raise RunFailed(self.problem)
        return {"exported": asdict(Exported(MADE, ()))}


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch) -> type[Pretender]:
    monkeypatch.setattr("pmb.lab.executors.Child", Pretender)
    monkeypatch.setattr(Pretender, "jobs", [])
    monkeypatch.setattr(Pretender, "problem", "")
    return Pretender


@pytest.fixture
def key(store: Store) -> str:
    """A finished run."""
    finish(store, spec(TOP_2, 0, STANDARD), 0.8)
    return spec(TOP_2, 0, STANDARD).key


def test_a_folder_is_put_in_its_place_whole_with_its_card(
    store: Store, settings: Settings, key: str, tmp_path: Path, pretended: type[Pretender]
) -> None:
    taken = export(store, settings, key, tmp_path / "model", Forms())
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == ["README.md", "model.safetensors"]
    assert taken.again.same
    assert "Made again it gives the same answers on all 2,000 dev examples." in card(tmp_path / "model")
    assert pretended.jobs[0]["folder"].endswith(PART)
    assert list(tmp_path.glob(f"*{PART}")) == []


def card(folder: Path) -> str:
    return (folder / "README.md").read_text(encoding="utf-8")


def test_a_zip_has_one_folder_in_it(
    store: Store, settings: Settings, key: str, tmp_path: Path, pretended: type[Pretender]
) -> None:
    export(store, settings, key, tmp_path / "model.zip", Forms())
    with zipfile.ZipFile(tmp_path / "model.zip") as archive:
        assert sorted(archive.namelist()) == ["model/README.md", "model/model.safetensors"]
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith("model")) == ["model.zip"]


def test_what_is_broken_off_leaves_nothing(
    store: Store, settings: Settings, key: str, tmp_path: Path, pretended: type[Pretender]
) -> None:
    pretended.problem = "The run could not read or write a file: No space left on device."
    with pytest.raises(RunFailed, match="No space left"):
        export(store, settings, key, tmp_path / "model", Forms())
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("model")] == []


def test_the_run_is_made_again_on_as_many_threads_as_before(store: Store, key: str) -> None:
    run = get_run(store, key)
    assert run is not None
    for machine, threads in (
        ("Linux x86_64, AVX2, 1 thread", 1),
        ("Linux, 2 threads, bfloat16", 2),
        ("a, 999 threads", 64),
    ):
        assert exports.threads_of(run | {"machine": machine}) == threads


def test_what_cannot_be_exported_is_one_line_by_command(
    settings: Settings, store: Store, key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting, failed = spec((0,), 1), spec((0,), 2)
    queue.submit(store, [failed])
    claim = queue.claim(store, "worker")
    assert claim is not None
    queue.fail(store, claim.key, "worker", "It broke.", "")
    queue.submit(store, [waiting])
    (tmp_path / "there").mkdir()
    target = str(tmp_path / "new")
    for arguments, sentence in (
        ((waiting.key[:12], target), "is queued: it has no model yet"),
        ((failed.key[:12], target), "failed and has no model; `python -m pmb retry"),
        (("abc123", target), "No run begins with 'abc123'"),
        ((key[:12], str(tmp_path / "there")), "is there already, and an export overwrites nothing"),
        ((key[:12], str(tmp_path / "no" / "where")), "is no folder, so where cannot be put there"),
    ):
        ended = pmb(settings, "export", *arguments)
        assert (ended.returncode, len(ended.stderr.splitlines())) == (2, 1), ended.stderr
        assert sentence in ended.stderr
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert "pip install -r requirements-onnx.txt" in pmb(settings, "export", key[:12], target, "--int8").stderr
    assert not Path(target).exists()


def test_who_may_only_look_exports_nothing(store: Store, settings: Settings, key: str, tmp_path: Path) -> None:
    reader = store.reader("You may look.")
    with pytest.raises(NotAllowed):
        export(reader, settings, key, tmp_path / "model", Forms())
    reader.close()


def test_too_small_a_disk_is_said_before_anything_is_trained(
    store: Store, settings: Settings, key: str, tiny_disk: Path, pretended: type[Pretender]
) -> None:
    with pytest.raises(PmbError, match=r"needs about 53 MB, and .*tiny has 2 MB free"):
        export(store, settings, key, tiny_disk / "model", Forms())
    assert pretended.jobs == []
    assert list(tiny_disk.iterdir()) == []


def test_a_disk_that_gets_full_is_one_sentence(tmp_path: Path, tiny_disk: Path) -> None:
    weights = tmp_path / "weights"
    engine.save(cut(ARCHITECTURES[0].build(), KEPT), tokenizer(), task_of(LABELS), 16, weights)
    (weights / engine.MADE).write_text(json.dumps(asdict(MADE)))
    ask: Callable[[Path], Exported] = lambda folder: engine.export(  # noqa: E731
        spec(), *given(), tmp_path, weights, folder, False, False, lambda _: None
    )
    assert ask(tiny_disk / "whole").made == MADE
    assert engine.MADE not in [path.name for path in (tiny_disk / "whole").iterdir()]
    fill_disk(tiny_disk)
    with pytest.raises(PmbError, match=r"cannot be written into .*tiny: No space left on device\.$"):
        ask(tiny_disk / "other")


def given() -> Any:
    from pmb.catalog.models import MODELS

    return MODELS["minilm-l6"], TASKS["rotten-tomatoes"]


def test_a_folder_that_opens_as_another_model_is_refused(tmp_path: Path) -> None:
    model, other = (cut(ARCHITECTURES[0].build(), KEPT) for _ in range(2))
    engine.save(model, tokenizer(), task_of(LABELS), 16, tmp_path / "it")
    data = encoded()
    engine.check_opens(tmp_path / "it", model, data)
    with torch.no_grad():
        other.classifier.bias += 1.0
    with pytest.raises(PmbError, match="BertForSequenceClassification cannot be exported"):
        engine.check_opens(tmp_path / "it", other, data)


def encoded() -> Any:
    from pmb.engine.batches import Encoded

    return Encoded(((2, 10, 11, 3), (2, 20, 3)), (0, 1), 0)


# The page


def test_the_page_makes_a_zip_in_the_background_and_offers_it(
    scored: Store, settings: Settings, pretended: type[Pretender], content_streamlit: None
) -> None:
    fill(scored, seeds=1)
    run = spec(TOP_2, 0, STANDARD).key
    app = opened(k="2")
    assert "Weights are not kept" in words(app)
    pretended.problem = "It *broke*."
    click(app, f"take_make_{run[:12]}")
    wait_for_makings()
    app.run()
    assert "It \\*broke\\*\\." in words(app) or "It \\*broke\\*." in words(app)
    pretended.problem = ""
    click(app, f"take_make_{run[:12]}")
    wait_for_makings()
    app.run()
    (made,) = (settings.home / "weights").glob("*.zip")
    assert made.name.startswith("minilm-l6-rotten-tomatoes-4-layers-seed0-")
    (button,) = app.get("download_button")
    assert button.proto.label.startswith("Download")  # type: ignore[union-attr]


def wait_for_makings() -> None:
    from pmb.take import makings

    for making in makings().values():
        making._thread.join(10)


def test_a_making_that_is_stopped_says_so() -> None:
    import threading

    from pmb.take import Making

    begun, go_on = threading.Event(), threading.Event()

    def make(report: Report) -> None:
        begun.set()
        go_on.wait(10)
        report(Progress("training"))

    making = Making(make)
    begun.wait(10)
    assert making.goes_on
    making.stop()
    go_on.set()
    making._thread.join(10)
    assert making.problem == "The export was cancelled."


# For real


@pytest.mark.slow
def test_a_run_is_exported_with_onnx_and_int8_and_used_without_torch(
    home_with_assets: Settings, store: Store, tmp_path: Path
) -> None:
    finish(store, spec(), 0.8)  # made up: what is made again is another
    key = spec().key
    taken = export(store, home_with_assets, key, tmp_path / "it", Forms(onnx=True, int8=True))
    assert taken.again.changed
    assert f"Made again {taken.again.changed:,} of 2,000 answers on dev differ" in card(tmp_path / "it")
    assert taken.again.after == taken.exported.made.score
    exact, int8 = taken.exported.onnx
    assert (exact.file, exact.sentences, int8.sentences) == ("onnx/model.onnx", 200, 1000)
    assert exact.logit_difference < 1e-3
    assert int8.megabytes < exact.megabytes / 3
    assert [timing.batch for timing in exact.timings] == [32, 1]
    config = json.loads((tmp_path / "it" / "config.json").read_text())
    assert (config["num_hidden_layers"], config["vocab_size"]) == (1, 30522)
    assert config["label2id"] == {"rotten": 0, "fresh": 1}
    assert exports.kept_weights(home_with_assets, key).is_dir()

    from pmb.lab.dev import dev_texts

    rows = list(range(40))
    texts = [texts[0] for texts in dev_texts(home_with_assets, TASKS["rotten-tomatoes"], rows)]
    found = elsewhere(ONNX_ALONE, tmp_path, str(tmp_path / "it"), json.dumps(texts))
    assert found["heavy"] == []
    answers = found["answers"]["model"]
    predictions = list(taken.exported.made.predictions[:40])
    assert sum(one != other for one, other in zip(answers, predictions, strict=True)) <= 1  # bfloat16 in the lab
    again = export(store, home_with_assets, key, tmp_path / "second", Forms())  # from the kept weights
    assert again.exported.made == taken.exported.made
