"""Dropout with masks from a quick generator: on a CPU torch draws them number by number, a tenth of a training step."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

DRAWS = 2**16  # a mask's element is a 16-bit number compared with a threshold


class QuickDropout(nn.Dropout):
    """torch's Dropout where there is a GPU; on a CPU the same with masks drawn four elements at a time."""

    def __init__(self, probability: float, generator: np.random.BitGenerator) -> None:
        """Drop with this probability (to the next 65,536th), drawing from a generator that may be shared."""
        super().__init__(probability)
        self.generator = generator

    def forward(self, input: Tensor) -> Tensor:
        """The input in evaluation; in training elements fall to 0 and the others grow by 1 / (1 - p)."""
        if not (self.training and self.p) or input.device.type != "cpu":
            return super().forward(input)
        count = input.numel()
        numbers = torch.from_numpy(self.generator.random_raw(math.ceil(count / 4))).view(torch.int16)[:count]
        dropped = round(self.p * DRAWS)
        kept = numbers.view(input.shape) >= dropped - DRAWS // 2
        return input * torch.where(kept, DRAWS / (DRAWS - dropped), 0.0).to(input.dtype)


def set_dropout(model: nn.Module, probability: float, seed: int) -> None:
    """Give every dropout of the model this probability and quick masks that follow from the seed."""
    generator = np.random.SFC64(seed)
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.Dropout):
                setattr(module, name, QuickDropout(probability, generator).train(child.training))
