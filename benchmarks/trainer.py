"""Hugging Face Trainer as the other side of the comparisons: the same data, cut, recipe and tokens."""

from __future__ import annotations

import tempfile
import time

import torch
from torch import nn
from torch.utils.data import Dataset
from transformers import (
    DataCollatorWithPadding,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Trainer,
    TrainingArguments,
)

from pmb.engine.batches import Encoded
from pmb.spec import Recipe


class Sentences(Dataset[dict[str, object]]):
    """Tokenized sentences as Trainer wants them."""

    def __init__(self, encoded: Encoded) -> None:
        """Wrap the lab's own tokens, so that both sides see the same."""
        self.encoded = encoded

    def __len__(self) -> int:
        """How many sentences."""
        return len(self.encoded)

    def __getitem__(self, row: int) -> dict[str, object]:
        """One sentence with its label."""
        return {"input_ids": list(self.encoded.token_ids[row]), "labels": self.encoded.labels[row]}


def set_dropout(model: nn.Module, probability: float) -> None:
    """Give every dropout of the model this probability, as the lab's `set_dropout` does."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = probability
        for name, value in list(vars(module).items()):
            if "dropout" in name and isinstance(value, float):
                setattr(module, name, probability)


def train_with_trainer(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    train: Encoded,
    recipe: Recipe,
    seed: int,
    *,
    group_by_length: bool = False,
    pad_to: int | None = None,
    bf16: bool = False,
    torch_compile: bool = False,
) -> float:
    """Fine-tune the model in place, on the GPU where there is one; returns the seconds of `Trainer.train`.

    Without `group_by_length` the order is random, Trainer's default; with it, each stretch of 50 batches goes from the
    longest sentences to the shortest. Without `pad_to` a batch is padded to its longest sentence.
    """
    with tempfile.TemporaryDirectory() as scratch:
        arguments = TrainingArguments(
            output_dir=scratch,
            per_device_train_batch_size=recipe.batch_size,
            learning_rate=recipe.learning_rate,
            num_train_epochs=recipe.epochs,
            warmup_steps=recipe.warmup_fraction,  # below 1: a share of all steps
            lr_scheduler_type="linear",
            weight_decay=recipe.weight_decay,
            max_grad_norm=recipe.max_grad_norm,
            train_sampling_strategy="group_by_length" if group_by_length else "random",
            bf16=bf16,
            torch_compile=torch_compile,
            seed=seed,
            use_cpu=not torch.cuda.is_available(),
            dataloader_pin_memory=torch.cuda.is_available(),
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
        )
        collator = DataCollatorWithPadding(
            tokenizer, padding="longest" if pad_to is None else "max_length", max_length=pad_to
        )
        trainer = Trainer(model=model, args=arguments, train_dataset=Sentences(train), data_collator=collator)
        start = time.perf_counter()
        trainer.train()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return time.perf_counter() - start


def evaluate_with_trainer(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, dev: Encoded, pad_to: int
) -> float:
    """Score the sentences as run_glue does, padded, in batches of 8; returns the seconds of `Trainer.evaluate`."""
    with tempfile.TemporaryDirectory() as scratch:
        arguments = TrainingArguments(
            output_dir=scratch, use_cpu=not torch.cuda.is_available(), report_to="none", disable_tqdm=True
        )
        collator = DataCollatorWithPadding(tokenizer, padding="max_length", max_length=pad_to)
        trainer = Trainer(model=model, args=arguments, eval_dataset=Sentences(dev), data_collator=collator)
        start = time.perf_counter()
        trainer.evaluate()
        return time.perf_counter() - start
