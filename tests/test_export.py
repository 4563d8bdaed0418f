"""An exported folder is opened where only transformers is installed, and its ONNX file where ONNX Runtime is."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import torch
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from sqlalchemy import update
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from pmb.catalog.models import MODELS
from pmb.catalog.tasks import TASKS, Task
from pmb.engine import export as engine
from pmb.engine.batches import Encoded
from pmb.engine.forward import plain_forward
from pmb.engine.surgery import cut, label_settings
from pmb.errors import PmbError
from pmb.lab import exports
from pmb.lab.dev import dev_texts
from pmb.lab.schema import runs
from pmb.lab.store import Store
from pmb.settings import Settings
from pmb.spec import Exported, Made, OnnxFile
from pmb.strict import read_as
from tests.app import finish
from tests.architectures import ARCHITECTURES
from tests.conftest import fill as fill_disk
from tests.conftest import spec
from tests.test_cli import pmb
from tests.test_surgery import batch

LABELS = ("good", "*bad* <b>")
KEPT = (0, 2)
MADE = Made(0.8, (0, 1) * 3000, "test device", "test machine", {"torch": "2.13.0"})

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
print(json.dumps(answers))
"""

IMPORTABLE = """
import json, sys
from importlib.util import find_spec
print(json.dumps([name for name in sys.argv[1:] if find_spec(name)]))
"""


def environment_of(folder: Path, *names: str) -> None:
    """A folder of packages with these distributions, what they require, and nothing else."""
    folder.mkdir()
    missing, linked = list(names), set[str]()
    while missing:
        name = canonicalize_name(missing.pop())
        if name in linked:
            continue
        linked.add(name)
        found = metadata.distribution(name)
        for top in {file.parts[0] for file in found.files or ()} - {"..", "__pycache__"}:
            (folder / top).unlink(missing_ok=True)  # several share it
            (folder / top).symlink_to(Path(str(found.locate_file(top))))
        required = [Requirement(line) for line in found.requires or ()]
        missing += [one.name for one in required if one.marker is None or one.marker.evaluate({"extra": ""})]


def elsewhere(packages: Path, code: str, folder: Path, *arguments: str) -> Any:
    """What a fresh Python prints that knows the packages of one folder and no others."""
    begin = f"import sys; sys.path.append({str(packages)!r})"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-W", "ignore", "-c", f"{begin}\n{code}", *arguments],
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
    found.pre_tokenizer = pre_tokenizers.Whitespace()
    found.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", None, [("[CLS]", 2), ("[SEP]", 3)])
    found.enable_padding(length=12)
    return PreTrainedTokenizerFast(
        tokenizer_object=found, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    )


@pytest.mark.slow
def test_every_architecture_is_opened_by_transformers_alone(tmp_path: Path) -> None:
    folders = tmp_path / "exported"
    for architecture in ARCHITECTURES:
        model = cut(architecture.build(), KEPT)
        for name, value in label_settings(LABELS).items():
            setattr(model.config, name, value)
        given = batch(architecture)
        folder = folders / architecture.name
        engine.save(model, tokenizer(), task_of(LABELS), 16, folder)
        inputs = {"input_ids": given.input_ids.tolist(), "attention_mask": given.attention_mask.tolist()}
        with torch.inference_mode():
            logits = plain_forward(model)(replace(given, token_type_ids=None)).tolist()
        (folder / "given.json").write_text(json.dumps({"inputs": inputs, "logits": logits}))
    environment_of(packages := tmp_path / "packages", "transformers", "torch")
    others = ("pmb", "streamlit", "sklearn", "pandas")
    assert elsewhere(packages, IMPORTABLE, tmp_path, *others, "transformers") == ["transformers"]
    found = elsewhere(packages, OPEN_ALL, tmp_path, str(folders))
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


def test_a_disk_that_gets_full_is_one_sentence(tmp_path: Path, tiny_disk: Path) -> None:
    weights = tmp_path / "weights"
    engine.save(cut(ARCHITECTURES[0].build(), KEPT), tokenizer(), task_of(LABELS), 16, weights)
    (weights / engine.MADE).write_text(json.dumps(asdict(MADE)))

    def ask(folder: Path) -> Exported:
        rows = MODELS["minilm-l6"], TASKS["rotten-tomatoes"]
        return engine.export(spec(), *rows, tmp_path, weights, folder, False, False, lambda _: None)

    assert ask(tiny_disk / "whole").made == MADE
    assert engine.MADE not in [path.name for path in (tiny_disk / "whole").iterdir()]
    fill_disk(tiny_disk)
    with pytest.raises(PmbError, match=r"cannot be written into .*tiny: No space left on device\.$"):
        ask(tiny_disk / "other")


def test_a_folder_that_opens_as_another_model_is_refused(tmp_path: Path) -> None:
    model, other = (cut(ARCHITECTURES[0].build(), KEPT) for _ in range(2))
    engine.save(model, tokenizer(), task_of(LABELS), 16, tmp_path / "it")
    data = Encoded(((2, 10, 11, 3), (2, 20, 3)), (0, 1), 0)
    engine.check_opens(tmp_path / "it", model, data)
    with torch.no_grad():
        next(other.classifier.parameters()).add_(1.0)  # type: ignore[union-attr]
    with pytest.raises(PmbError, match="BertForSequenceClassification cannot be exported"):
        engine.check_opens(tmp_path / "it", other, data)


# For real


@pytest.mark.slow
def test_a_run_is_exported_and_reproduced_by_command_and_used_without_torch(
    home_with_assets: Settings, store: Store, tmp_path: Path
) -> None:
    finish(store, spec(), 0.8)  # made up: what is made again is another
    key, folder = spec().key, tmp_path / "it"
    ended = pmb(home_with_assets, "export", key[:12], str(folder), "--int8", "--json")
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert found["changed_predictions"] > 0
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert f"Made again {found['changed_predictions']:,} of 6,000 answers on dev differ" in card
    exact, int8 = (read_as(OnnxFile, one, "A file") for one in found["onnx"])
    assert (exact.file, exact.sentences, int8.sentences) == ("onnx/model.onnx", 200, 1000)
    assert exact.logit_difference < 1e-3
    assert int8.megabytes < exact.megabytes / 3
    assert [timing.batch for timing in exact.timings] == [32, 1]
    config = json.loads((folder / "config.json").read_text())
    assert (config["num_hidden_layers"], config["vocab_size"]) == (1, 30522)
    assert config["label2id"] == {"rotten": 0, "fresh": 1}

    kept = exports.kept_weights(home_with_assets, key)
    made = Made.from_dict(json.loads((kept / engine.MADE).read_text()))
    texts = [texts[0] for texts in dev_texts(home_with_assets, TASKS["rotten-tomatoes"], range(40))]
    environment_of(packages := tmp_path / "packages", "onnxruntime", "tokenizers")
    others = ("pmb", "torch", "transformers", "onnx")
    assert elsewhere(packages, IMPORTABLE, tmp_path, *others, "onnxruntime") == ["onnxruntime"]
    answers = elsewhere(packages, ONNX_ALONE, tmp_path, str(folder), json.dumps(texts))
    differing = sum(one != other for one, other in zip(answers["model"], made.predictions, strict=False))
    assert differing <= 1  # the lab may have scored with bfloat16

    values = {"score": made.score, "predictions": list(made.predictions), "machine": made.machine}
    with store.connect() as connection:
        connection.execute(update(runs).values(values))
    (tmp_path / "results.csv").write_text(pmb(home_with_assets, "runs", "--csv").stdout)
    ended = pmb(home_with_assets, "reproduce", str(tmp_path / "results.csv"))
    assert ended.stdout.startswith("same"), ended.stdout
    assert ended.returncode == 0
