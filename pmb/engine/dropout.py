"""Dropout with masks from a quick generator: on a CPU torch draws them number by number, a tenth of a training step."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

DRAWS = 2**16  # a mask's element is a 16-bit number compared with a threshold
BITS = {2: torch.int16, 4: torch.int32}  # whole numbers as wide as an element of so many bytes


class QuickDropout(nn.Dropout):
    """torch's Dropout where there is a GPU; on a CPU the same with masks drawn four elements at a time."""

    def __init__(self, probability: float, generator: np.random.BitGenerator) -> None:
        """Drop with this probability (to the next 65,536th), drawing from a generator that may be shared."""
        super().__init__(probability)
        self.generator = generator

    @property
    def scale(self) -> float:
        """By how much the elements that stay grow in training."""
        return DRAWS / (DRAWS - round(self.p * DRAWS)) if self.training else 1.0

    def forward(self, input: Tensor) -> Tensor:
        """The input in evaluation; in training elements fall to 0 and the others grow by `scale`."""
        if not (self.training and self.p) or input.device.type != "cpu":
            return super().forward(input)
        return input * torch.where(self._kept(input), self.scale, 0.0).to(input.dtype)

    def mask(self, like: Tensor) -> Tensor | None:
        """A new mask for `masked`: 1 for an element that stays, 0 for one that falls; None: all stay."""
        if not (self.training and self.p):
            return None
        if like.device.type == "cpu":
            kept = self._kept(like)
        else:
            kept = torch.rand(like.shape, device=like.device) >= 1 - 1 / self.scale
        return kept.to(BITS[like.element_size()])

    def _kept(self, like: Tensor) -> Tensor:
        count = like.numel()
        numbers = torch.from_numpy(self.generator.random_raw(math.ceil(count / 4))).view(torch.int16)[:count]
        return numbers.view(like.shape) >= round(self.p * DRAWS) - DRAWS // 2


def masked(states: Tensor, mask: Tensor | None) -> Tensor:
    """The states, 0 where a mask of `QuickDropout.mask` is 0, not scaled: their bits as whole numbers times 1 or 0."""
    return states if mask is None else (states.view(mask.dtype) * mask).view(states.dtype)


def set_dropout(model: nn.Module, probability: float, seed: int) -> np.random.SFC64:
    """Give every dropout of the model this probability and quick masks from a generator of that seed, and return it.

    Attention that calls torch's dropout itself has the probability as a number of its own.
    """
    generator = np.random.SFC64(seed)
    for module in list(model.modules()):
        for name, value in list(vars(module).items()):
            if "dropout" in name and isinstance(value, float):
                setattr(module, name, probability)
        for name, child in module.named_children():
            if isinstance(child, nn.Dropout):
                setattr(module, name, QuickDropout(probability, generator).train(child.training))
    return generator
