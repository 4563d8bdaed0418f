"""A task's sentences as token ids, tokenized once a machine and kept in a safetensors file."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from pmb.engine.batches import Encoded

FORMAT = 1  # raise it when the same identity would give other tokens


def remembered(
    folder: Path, identity: dict[str, object], encode: Callable[[], dict[str, Encoded]]
) -> dict[str, Encoded]:
    """What `encode` gives, from the folder's file for this identity where there is one.

    A file that is damaged is written again; one that cannot be written costs the next run the time to tokenize.
    """
    digest = hashlib.sha256(json.dumps(identity | {"format": FORMAT}, sort_keys=True).encode()).hexdigest()
    path = folder / f"{digest[:24]}.safetensors"
    try:
        return _unpacked(load_file(path))
    except (FileNotFoundError, SafetensorError, KeyError):
        encoded = encode()
        _write(path, _packed(encoded))
        return encoded


def _packed(parts: dict[str, Encoded]) -> dict[str, Tensor]:
    tensors = {}
    for name, data in parts.items():
        ids = [token for sentence in data.token_ids for token in sentence]
        tensors[f"{name}.token_ids"] = torch.tensor(ids, dtype=torch.int32)
        tensors[f"{name}.lengths"] = torch.tensor([len(sentence) for sentence in data.token_ids], dtype=torch.int32)
        tensors[f"{name}.labels"] = torch.tensor(data.labels, dtype=torch.int32)
        tensors[f"{name}.pad_token_id"] = torch.tensor(data.pad_token_id, dtype=torch.int32)
    return tensors


def _unpacked(tensors: dict[str, Tensor]) -> dict[str, Encoded]:
    parts = {}
    for name in sorted({key.partition(".")[0] for key in tensors}):
        sentences = tensors[f"{name}.token_ids"].split(tensors[f"{name}.lengths"].tolist())
        parts[name] = Encoded(
            token_ids=tuple(tuple(sentence.tolist()) for sentence in sentences),
            labels=tuple(tensors[f"{name}.labels"].tolist()),
            pad_token_id=int(tensors[f"{name}.pad_token_id"]),
        )
    return parts


def _write(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write beside it, then rename: of several runs at a time none reads half a file."""
    beside = path.with_suffix(f".{os.getpid()}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, beside)
    beside.replace(path)
