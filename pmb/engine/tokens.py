"""A task's sentences as token ids, tokenized once a machine and kept in a safetensors file."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from pmb.engine.batches import Encoded
from pmb.files import whole_file

FORMAT = 3  # raise it when the same identity would give other tokens


def remembered(
    folder: Path, identity: dict[str, object], encode: Callable[[], dict[str, Encoded]]
) -> dict[str, Encoded]:
    """What `encode` gives, from the folder's file for this identity where there is one.

    A file that is damaged is written again; one that cannot be written costs the next run the time to tokenize.
    """
    digest = hashlib.sha256(json.dumps(identity | {"format": FORMAT}, sort_keys=True).encode()).hexdigest()
    path = folder / f"{digest[:24]}.safetensors"
    try:
        found = _unpacked(load_file(path))
    except (OSError, SafetensorError, KeyError):
        found = encode()
        _write(path, _packed(found))
    else:
        with suppress(OSError):  # of somebody else's
            path.touch()  # when it was last of use
    return found


def _packed(parts: dict[str, Encoded]) -> dict[str, Tensor]:
    tensors = {}
    for name, data in parts.items():
        tensors[f"{name}.token_ids"] = _flat(data.token_ids)
        tensors[f"{name}.lengths"] = torch.tensor([len(row) for row in data.token_ids], dtype=torch.int32)
        tensors[f"{name}.labels"] = torch.tensor(data.labels)  # float32 in a regression
        filling = [data.pad_token_id, data.pad_token_type_id, int(data.pad_left)]
        tensors[f"{name}.filling"] = torch.tensor(filling, dtype=torch.int32)
        if data.token_type_ids is not None:
            tensors[f"{name}.token_type_ids"] = _flat(data.token_type_ids)
    return tensors


def _flat(rows: Sequence[Sequence[int]]) -> Tensor:
    return torch.tensor([value for row in rows for value in row], dtype=torch.int32)


def _unpacked(tensors: dict[str, Tensor]) -> dict[str, Encoded]:
    parts = {}
    for name in sorted({key.partition(".")[0] for key in tensors}):
        lengths = tensors[f"{name}.lengths"].tolist()

        def rows(which: str, name: str = name, lengths: list[int] = lengths) -> tuple[tuple[int, ...], ...]:
            return tuple(tuple(row.tolist()) for row in tensors[f"{name}.{which}"].split(lengths))

        pad_token_id, pad_token_type_id, pad_left = tensors[f"{name}.filling"].tolist()
        parts[name] = Encoded(
            token_ids=rows("token_ids"),
            labels=tuple(tensors[f"{name}.labels"].tolist()),
            pad_token_id=pad_token_id,
            token_type_ids=rows("token_type_ids") if f"{name}.token_type_ids" in tensors else None,
            pad_token_type_id=pad_token_type_id,
            pad_left=bool(pad_left),
        )
    return parts


def _write(path: Path, tensors: dict[str, Tensor]) -> None:
    try:
        with whole_file(path) as beside:
            save_file(tensors, beside)
    except (OSError, SafetensorError) as error:
        print(f"The tokens are not kept: {error}", file=sys.stderr)
