"""A folder with a tiny model and its tokenizer, as a user brings one, and ways to spoil it."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import BertConfig, BertModel

WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "film", "good", "bad", "##s")
LAYERS = 3
SIZES: dict[str, Any] = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32}
MARKER = "the-code-was-run"
CODE = f"open({MARKER!r}, 'w').close()\n"  # in the folder that is the current one


def make_folder(folder: Path) -> Path:
    """A BERT of three layers and ten words with random weights."""
    torch.manual_seed(0)
    config = BertConfig(vocab_size=len(WORDS), num_hidden_layers=LAYERS, max_position_embeddings=64, **SIZES)
    BertModel(config).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(WORDS), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer"}', encoding="utf-8")
    return folder


def settings(**changed: Any) -> Callable[[Path], None]:
    """Spoil the config by these settings."""

    def spoil(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changed), encoding="utf-8")

    return spoil


def content(name: str, what: bytes | str) -> Callable[[Path], None]:
    """Spoil a file by other content."""
    return lambda folder: void((folder / name).write_bytes(what.encode() if isinstance(what, str) else what))


def tensors(change: Callable[[dict[str, Tensor]], object]) -> Callable[[Path], None]:
    """Spoil the weights."""

    def spoil(folder: Path) -> None:
        found = load_file(folder / "model.safetensors")
        change(found)
        save_file(found, folder / "model.safetensors", metadata={"format": "pt"})

    return spoil


def index(file: str) -> Callable[[Path], None]:
    """Put an index of weights in the place of the weights, in which each tensor lies in that file."""

    def spoil(folder: Path) -> None:
        names = load_file(folder / "model.safetensors")
        (folder / "model.safetensors").rename(folder / "part.safetensors")
        found = {"metadata": {}, "weight_map": dict.fromkeys(names, file)}
        (folder / "model.safetensors.index.json").write_text(json.dumps(found), encoding="utf-8")

    return spoil


def truncated(folder: Path) -> None:
    """Cut the weights off."""
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def code(**where: Any) -> Callable[[Path], None]:
    """Put a file of code into the folder that the config and the tokenizer's name."""

    def spoil(folder: Path) -> None:
        (folder / "evil.py").write_text(CODE, encoding="utf-8")
        settings(auto_map={"AutoConfig": "evil.C", "AutoModel": "evil.M", "AutoTokenizer": ["evil.T", None]}, **where)(
            folder
        )
        path = folder / "tokenizer_config.json"
        told = json.loads(path.read_text()) | {"auto_map": {"AutoTokenizer": ["evil.T", None]}}
        path.write_text(json.dumps(told), encoding="utf-8")

    return spoil


class Payload:
    """What unpickling would run."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Write the marker."""
        return exec, (CODE,)


PICKLED = pickle.dumps(Payload()) + b" " * 100


def void(_: object) -> None:
    """Nothing."""
