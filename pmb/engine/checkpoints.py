"""Where a fine-tuning stands after an epoch, kept in a safetensors file, so that a killed run goes on from there.

Tensors are the parameters, AdamW's state and the states of the random generators. What else is needed (losses, times,
and what the file belongs to) is JSON in the file's own header, so that one rename puts all of it in place.
"""

from __future__ import annotations

import json
import random
import sys
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pmb.files import whole_file

FORMAT = 1
LARGEST_SHARE = 0.05  # of the time that may go into writing them
HEADER = "pmb"  # where the JSON stands in the file


@dataclass(frozen=True, slots=True)
class Saving:
    """The folder of a run's checkpoints, and how rarely one is written; 0: after every epoch, whatever it costs."""

    folder: Path
    least_seconds: float


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A file in that folder, for each fine-tuning of the run one, and what it belongs to.

    Only a run of equal `identity` (run key, versions, device, threads) can go on from it to the same last digit.
    """

    folder: Path
    identity: Mapping[str, Any]
    least_seconds: float
    name: str = "cut"

    @property
    def path(self) -> Path:
        """The file."""
        return self.folder / f"{self.name}.safetensors"

    def stage(self, name: str) -> Checkpoint:
        """The file for another fine-tuning of the run."""
        return replace(self, name=name)


@dataclass(frozen=True, slots=True)
class Stand:
    """How far a fine-tuning is: the mean loss of each finished epoch, and the seconds that they took."""

    losses: tuple[float, ...] = ()
    seconds: float = 0.0


class Generators:
    """The random generators that a fine-tuning draws from: the order of sentences, quick dropout masks, torch's own."""

    def __init__(self, order: random.Random, masks: np.random.SFC64, device: torch.device) -> None:
        """Hold them; none is copied."""
        self._order, self._masks, self._device = order, masks, device

    def states(self) -> dict[str, Tensor]:
        """Their states as tensors of whole numbers."""
        version, numbers, _ = self._order.getstate()  # the third is for normal numbers, which nobody draws
        masks: dict[str, Any] = dict(self._masks.state)
        found = {
            "order": torch.tensor([version, *numbers], dtype=torch.int64),
            "masks": torch.from_numpy(masks["state"]["state"].view(np.int64).copy()),
            "masks_rest": torch.tensor([masks["has_uint32"], masks["uinteger"]], dtype=torch.int64),
            "torch": torch.get_rng_state(),
        }
        return found | ({"cuda": torch.cuda.get_rng_state(self._device)} if self._device.type == "cuda" else {})

    def restore(self, states: Mapping[str, Tensor]) -> None:
        """Put them into these states."""
        version, *numbers = states["order"].tolist()
        self._order.setstate((version, tuple(numbers), None))
        has_uint32, uinteger = states["masks_rest"].tolist()
        state: Any = dict(self._masks.state) | {
            "state": {"state": states["masks"].numpy().view(np.uint64)},
            "has_uint32": has_uint32,
            "uinteger": uinteger,
        }
        self._masks.state = state
        torch.set_rng_state(states["torch"])
        if self._device.type == "cuda":
            torch.cuda.set_rng_state(states["cuda"], self._device)


class Keeper:
    """Saves a fine-tuning after an epoch where that is due, and brings back what was saved."""

    def __init__(
        self, checkpoint: Checkpoint | None, model: nn.Module, optimizer: torch.optim.AdamW, generators: Generators
    ) -> None:
        """Without a checkpoint nothing is saved and nothing is found."""
        self._checkpoint, self._model, self._optimizer, self._generators = checkpoint, model, optimizer, generators
        self._saved_at, self._cost_seconds = monotonic(), 0.0

    def restore(self) -> Stand:
        """Put model, optimizer and generators where the file says; where there is no file of use, change nothing."""
        if self._checkpoint is None or not self._checkpoint.path.exists():
            return Stand()
        path = self._checkpoint.path
        try:
            header = _header(path)
            if header["identity"] != _plain(self._checkpoint.identity):
                raise ValueError("it is of another run, version, device or number of threads")
            tensors = load_file(path)
            if header["checksum"] != _checksum(tensors):
                raise ValueError("its checksum is wrong")
            self._put(tensors)
            stand = Stand(tuple(header["losses"]), header["seconds"])
        except (OSError, SafetensorError, KeyError, ValueError, TypeError) as error:
            _log(f"The checkpoint {path.name} is left alone: {_words(error)}.")
            return Stand()
        _log(f"Going on from the checkpoint of epoch {len(stand.losses)}.")
        return stand

    def save(self, stand: Stand) -> None:
        """Write the file where it is due; a file that cannot be written costs the run nothing but a line in its log."""
        if self._checkpoint is None:
            return
        started, least_seconds = monotonic(), self._checkpoint.least_seconds
        if least_seconds and started - self._saved_at < max(least_seconds, self._cost_seconds / LARGEST_SHARE):
            return
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self._tensors()}
        header = {
            "identity": _plain(self._checkpoint.identity),
            "losses": stand.losses,
            "seconds": stand.seconds,
            "checksum": _checksum(tensors),
        }
        try:
            with whole_file(self._checkpoint.path) as beside:
                save_file(tensors, beside, metadata={HEADER: json.dumps(header)})
        except (OSError, SafetensorError, RuntimeError) as error:
            _log(f"No checkpoint of epoch {len(stand.losses)}: {_words(error)}.")
        self._saved_at = monotonic()
        self._cost_seconds = self._saved_at - started

    def _tensors(self) -> Iterator[tuple[str, Tensor]]:
        for name, parameter in self._model.named_parameters():
            yield f"parameter/{name}", parameter
            for which, value in self._optimizer.state.get(parameter, {}).items():
                yield f"optimizer/{name}/{which}", value
        for name, buffer in self._model.named_buffers():
            yield f"buffer/{name}", buffer.clone()
        for name, state in self._generators.states().items():
            yield f"generator/{name}", state

    def _put(self, tensors: Mapping[str, Tensor]) -> None:
        """Changes nothing unless every tensor that is needed is there and of the right shape."""
        for name, tensor in self._tensors():
            if tensors[name].shape != tensor.shape:
                raise ValueError(f"{name} has the shape {tuple(tensors[name].shape)} and not {tuple(tensor.shape)}")
        self._generators.restore(_below(tensors, "generator/"))
        for name, buffer in self._model.named_buffers():
            buffer.copy_(tensors[f"buffer/{name}"])
        for name, place in self._model.named_parameters():
            place.data.copy_(tensors[f"parameter/{name}"])
            if state := _below(tensors, f"optimizer/{name}/"):
                self._optimizer.state[place] = {which: value.to(place.device) for which, value in state.items()}


def threads_of(folder: Path, identity: Mapping[str, Any]) -> int | None:
    """On how many threads a run that is equal in all else left a checkpoint; None where none did."""
    for path in folder.glob("*.safetensors"):
        try:
            found = _header(path)["identity"]
            if found | {"threads": 0} == _plain(identity) | {"threads": 0}:
                return int(found["threads"])
        except (OSError, SafetensorError, KeyError, ValueError, TypeError):
            continue  # whoever wants to go on from it will say what is wrong
    return None


def _header(path: Path) -> dict[str, Any]:
    with safe_open(path, "pt") as file:  # reads no tensor
        header: dict[str, Any] = json.loads((file.metadata() or {})[HEADER])
    return header


def _checksum(tensors: Mapping[str, Tensor]) -> int:
    found = 0
    for name in sorted(tensors):
        found = zlib.crc32(tensors[name].reshape(-1).view(torch.uint8).numpy().data, found)
    return found


def _below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    # The file is mapped into memory and will be replaced: what goes on to be used is copied.
    return {name.removeprefix(prefix): t.clone() for name, t in tensors.items() if name.startswith(prefix)}


def _plain(identity: Mapping[str, Any]) -> dict[str, Any]:
    """As JSON gives it back."""
    plain: dict[str, Any] = json.loads(json.dumps({**identity, "format": FORMAT}))
    return plain


def _words(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")


def _log(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
