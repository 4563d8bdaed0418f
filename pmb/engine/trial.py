"""Tries an architecture before anything is trained: a small cut of it is trained, saved and opened again.

The config is enough for that: the weights are random, of two layers and a small vocabulary, so that a trial takes about
a second and needs no download. What it refuses would otherwise break off in a run, or after one, when it is exported.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedConfig, PreTrainedModel

from pmb.catalog.recipes import RECIPES
from pmb.engine import export, finetune, surgery
from pmb.engine import folder as folders
from pmb.engine.batches import Encoded, batch_of
from pmb.engine.forward import model_inputs
from pmb.engine.shortage import shortage
from pmb.errors import BadInput, PmbError
from pmb.strategies import misplaced

VOCABULARY = 1000  # rows of a table of tokens: more of them take time and show nothing
LENGTHS = (9, 6)  # tokens of the made-up sentences
LONGEST = 512  # tokens at most by which the model shows that it reads as many as it says
SAME = 1e-5  # of hidden states, relative and absolute
RECIPE = replace(RECIPES["quick"], name="trial", epochs=1, batch_size=len(LENGTHS))
CPU = torch.device("cpu")


def check_architecture(folder: Path) -> None:
    """Raise BadInput unless a cut of what the folder's config describes is an encoder that learns and can be saved."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = small_cut(folders.read_config(folder))
        name = type(model).__name__
        data = _sentences(model)
        with _told(f"{name} cannot be used: it breaks off on a few sentences"):
            _check_reading(model, data)
            _check_longest(model)
        with _told(f"{name} cannot be fine-tuned"):
            finetune.fine_tune(model, data, RECIPE, 0, CPU, lambda _: None)
            finetune.predict(model, data, CPU)
        with tempfile.TemporaryDirectory(prefix="pmb-trial-") as scratch, _told(_UNSAVED.format(name), scratch):
            model.save_pretrained(scratch)
            export.check_opens(Path(scratch), model, data)


_UNSAVED = "{} cannot be cut: a cut of it, saved and opened again, is another model"


def small_cut(config: PreTrainedConfig) -> PreTrainedModel:
    """A classifier of two of the config's layers with random weights and a small vocabulary; raises BadInput."""
    _shrink_vocabulary(config)
    config.use_cache = False  # of past tokens, which no encoder has and a hybrid of attention and state spaces wants
    for name, value in surgery.label_settings(("0", "1")).items():
        setattr(config, name, value)
    with _told(f"A model of type {config.model_type!r} cannot be built from its config"):
        model = folders.unfilled_classifier(config)
    with _told(f"{type(model).__name__} cannot be cut"):
        surgery.cut(model, _two_layers(surgery.find_stack(model).kinds))
        _fill(model)
    return model.eval()


@torch.no_grad()
def _fill(model: PreTrainedModel) -> None:
    """Give the parameters random values of the usual sizes, so that states neither vanish nor grow."""
    for name, parameter in model.named_parameters():
        if parameter.dim() > 1:
            parameter.normal_(std=max(1, parameter.shape[1:].numel()) ** -0.5)
        else:
            parameter.normal_(float(name.endswith("weight")), 0.1)  # norms are near 1 and biases near 0


def _shrink_vocabulary(config: PreTrainedConfig) -> None:
    """Have the config describe a small vocabulary, in place; the special tokens are the last of it."""
    special = VOCABULARY
    for name, value in sorted(vars(config).items()):
        if not isinstance(value, int):
            continue
        if "vocab_size" in name or name == "n_words":
            setattr(config, name, min(value, VOCABULARY))
        elif name.endswith("token_id") and value >= VOCABULARY // 2:
            special -= 1
            setattr(config, name, special)


def _two_layers(kinds: Sequence[int]) -> tuple[int, ...]:
    """Two layers of which neither keeps its place, as far as the architecture allows it; fewer of a shallow model."""
    depth = len(kinds)
    pairs = sorted(combinations(range(depth), 2), key=lambda pair: (pair[0] == 0, pair[1] == 1, -pair[1]))
    return next((pair for pair in pairs if not misplaced(kinds, pair)), (0,))


def _sentences(model: PreTrainedModel) -> Encoded:
    """A few sentences of made-up tokens, padded with the config's token."""
    most = min(surgery.vocabulary_size(model) or VOCABULARY, VOCABULARY)
    tokens = range(most // 8, most // 4)
    rows = tuple(tuple(tokens[(5 * row + i) % len(tokens)] for i in range(n)) for row, n in enumerate(LENGTHS))
    padding = getattr(model.config, "pad_token_id", None)
    labels = tuple(row % 2 for row in range(len(rows)))
    return Encoded(rows, labels, padding if isinstance(padding, int) and 0 <= padding < most else 0)


@torch.inference_mode()
def _check_reading(model: PreTrainedModel, data: Encoded) -> None:
    """Raise BadInput unless the first token's state changes with the last token: that of a decoder does not."""
    encoder: Any = model.base_model
    first, *middle, last = data.token_ids[0]
    rows = ((first, *middle, last), (first, *middle, last + 1), (first + 1, *middle, last))
    three = Encoded(rows, (0,) * len(rows), data.pad_token_id)
    whole, other_last, other_first = (
        encoder(**model_inputs(encoder, batch_of(three, [row], CPU)))[0] for row in range(len(rows))
    )
    if not torch.allclose(whole[:, 0], other_last[:, 0], rtol=SAME, atol=SAME):
        return
    name = type(model).__name__
    if torch.allclose(whole[:, -1], other_first[:, -1], rtol=SAME, atol=SAME):
        raise BadInput(f"{name} cannot be used here: its tokens do not read one another on this machine.")
    raise BadInput(
        f"{name} cannot be cut: it is a decoder, whose tokens read only those before them, and only encoders are cut "
        "here."
    )


@torch.inference_mode()
def _check_longest(model: PreTrainedModel) -> None:
    """Have the model read as many tokens as it says that it reads."""
    longest = min(surgery.tokens_read(model) or LONGEST, LONGEST)
    token = _sentences(model).token_ids[0][0]
    batch = batch_of(Encoded(((token,) * longest,), (0,), 0), [0], CPU)
    model(**model_inputs(model, batch))


@contextmanager
def _told(beginning: str, scratch: str = "") -> Iterator[None]:
    """Turn what a library or the lab says of a made-up model into a sentence on the architecture.

    `scratch`: a folder of the trial's own, which is not named.
    """
    try:
        yield
    except BadInput as error:
        if not scratch:
            raise
        raise BadInput(f"{beginning} ({_words(error, scratch)}).") from error
    except PmbError as error:
        raise BadInput(f"{beginning}.") from error
    except Exception as error:
        if shortage(error, None):
            raise
        raise BadInput(f"{beginning} ({type(error).__name__}: {_words(error, scratch)}).") from error


def _words(error: Exception, scratch: str) -> str:
    words = " ".join(str(error).replace(scratch, "its folder").split()) if scratch else " ".join(str(error).split())
    return words[: folders.MOST_WORDS].rstrip(".") or "no further words"
