"""The one place where a folder with a model is opened: checked by rules of our own before any library opens it.

A folder is data and never code: files that its configs name as code (`auto_map`, attention kernels) are not run,
nobody is asked whether they may be (transformers would read the answer from the child's pipe), and weights are
safetensors alone, since the older formats run what is in them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.initialization import no_init_weights
from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING

from pmb.bounds import LARGEST_SETTING, MOST_JSON_MEGABYTES, MOST_LAYERS, MOST_TOKENIZER_MEGABYTES
from pmb.engine.shortage import shortage
from pmb.errors import BadInput, PmbError
from pmb.strict import parse, read_as

BYTES_A_MEGABYTE = 1_000_000
CONFIG, INDEX, WEIGHTS = "config.json", "model.safetensors.index.json", "*.safetensors"
ONE_FILE = "model.safetensors"  # transformers opens it first and ignores an index beside it
# transformers opens a folder without any of these too, with an empty vocabulary.
TOKENIZER_FILES = ("tokenizer.json", "vocab.txt", "vocab.json", "spiece.model", "sentencepiece.bpe.model", "spm.model")
BUILT = ("layer", "group", "block", "expert")  # in names of settings: of each of so many a library builds modules
KERNELS = ("attn_implementation", "_attn_implementation", "experts_implementation", "_experts_implementation")
OURS: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
DTYPES = ("F64", "F32", "F16", "BF16", "I64", "I32", "I16", "U8", "BOOL")  # whole numbers are of buffers
MOST_WORDS = 300  # characters of what a library says
POINTER = b"version https://git-lfs.github.com/spec/"  # how a Git LFS pointer begins
# More files that a tokenizer is read from.
TOKENIZER_EXTRAS = ("tokenizer_config.json", "merges.txt", "special_tokens_map.json", "added_tokens.json")
# The engine reads outputs by name and asks for hidden states where it needs them. Other programs leave these settings
# in a config, and with them outputs are tuples or the config cannot be saved.
PLAIN_OUTPUTS = {"return_dict": True, "output_attentions": False, "output_hidden_states": False}


def check_files(folder: Path) -> None:
    """Raise BadInput unless the folder has a config, a tokenizer and whole files of weights."""
    if not (folder / CONFIG).is_file():
        raise BadInput(f"{folder} has no config.json, so it is no model that transformers could open.")
    weight_files(folder)
    if not any((folder / name).is_file() for name in TOKENIZER_FILES):
        raise BadInput(f"{folder} has no tokenizer: none of {', '.join(TOKENIZER_FILES)} is in it.")
    _check_weights(folder)


def read_config(folder: Path) -> PreTrainedConfig:
    """The config as transformers reads it, set to float32 and to outputs by name; raises BadInput.

    The types of the weights are left to `open_model`: training needs float32, whatever the config says.
    """
    _check_there(folder)
    _check_pointer(folder / CONFIG)
    values = read_as(dict[str, Any], _json(folder / CONFIG), f"{folder / CONFIG}")
    _check_settings(values, folder / CONFIG)
    with _in_a_sentence(folder):
        config: PreTrainedConfig = AutoConfig.from_pretrained(folder, **OURS)
        for name, value in PLAIN_OUTPUTS.items():
            setattr(config, name, value)
        config.dtype = torch.float32
    return config


def empty_model(folder: Path) -> PreTrainedModel:
    """The encoder that the config describes, with shapes and without numbers; raises BadInput."""
    config = read_config(folder)
    with _in_a_sentence(folder), torch.device("meta"):
        model: PreTrainedModel = AutoModel.from_config(config, trust_remote_code=False)
    return model


def unfilled_classifier(config: PreTrainedConfig) -> PreTrainedModel:
    """The classifier of sentences that the config describes, with whatever numbers the memory holds.

    Raises BadInput where transformers has no such classifier, and what transformers raises on settings that do not fit.
    """
    if type(config) not in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING:
        raise BadInput(
            f"A model of type {config.model_type!r} cannot be used: transformers has no classifier of sentences for it "
            "(AutoModelForSequenceClassification)."
        )
    with no_init_weights():
        model: PreTrainedModel = AutoModelForSequenceClassification.from_config(config, trust_remote_code=False)
    return model


def open_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer that lies beside the model; raises BadInput."""
    _check_there(folder)
    for name in (*TOKENIZER_FILES, *TOKENIZER_EXTRAS):
        _check_pointer(folder / name)
    for path in sorted(path for path in folder.iterdir() if path.suffix in (".json", ".txt", ".model")):
        if (megabytes := path.stat().st_size / BYTES_A_MEGABYTE) > MOST_TOKENIZER_MEGABYTES:
            raise BadInput(f"{path} has {megabytes:.0f} MB; at most {MOST_TOKENIZER_MEGABYTES} are opened.")
    with _in_a_sentence(folder):
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder, **OURS)
    return tokenizer


def open_model(auto: Any, folder: Path, **settings: Any) -> tuple[PreTrainedModel, dict[str, Any]]:
    """A model in float32 by one of transformers' Auto classes, and what it says of its weights; raises BadInput.

    `settings` replace those of the config. Tensors of another shape than the config's are not taken, and named under
    "mismatched_keys".
    """
    config = read_config(folder)
    for name, value in settings.items():
        setattr(config, name, value)
    _check_weights(folder)
    how = {"use_safetensors": True, "output_loading_info": True, "ignore_mismatched_sizes": True, **OURS}
    with _in_a_sentence(folder):
        model, told = auto.from_pretrained(folder, config=config, dtype=torch.float32, **how)
    return model, told


def weight_files(folder: Path) -> list[Path]:
    """The files of weights that transformers opens; raises BadInput where there are none.

    That is model.safetensors, or the files that the index names. Other safetensors files, such as a variant in half
    precision, are left alone.
    """
    if (folder / ONE_FILE).is_file():
        return [folder / ONE_FILE]
    if (folder / INDEX).is_file():
        return _indexed_files(folder)
    others = sorted(path.name for path in folder.glob(WEIGHTS))
    if others:
        raise BadInput(
            f"{folder} has no {ONE_FILE} and no {INDEX}; {others[0]!r} is not opened by itself. Rename it to "
            f"{ONE_FILE} if it holds the weights of the model."
        )
    raise BadInput(f"{folder} has no safetensors weights; weights in other formats are not opened here.")


def weight_bytes(folder: Path) -> int:
    """The bytes of the weights that are opened; raises BadInput where there are none."""
    return sum(path.stat().st_size for path in weight_files(folder))


def _check_there(folder: Path) -> None:
    if not folder.is_dir():
        raise BadInput(f"{folder} is not there any more, or is no folder.")


def _json(path: Path) -> Any:
    if (megabytes := path.stat().st_size / BYTES_A_MEGABYTE) > MOST_JSON_MEGABYTES:
        raise BadInput(f"{path} has {megabytes:.0f} MB; at most {MOST_JSON_MEGABYTES} are opened.")
    return parse(path.read_bytes(), str(path))


def _check_settings(values: dict[str, Any], path: Path) -> None:
    """Refuse what would have a library build without end, before it builds, or fetch code."""
    for name, value in values.items():
        if name in KERNELS and "/" in str(value):
            raise BadInput(f"{path} asks for code from elsewhere ({name} {str(value)[:80]!r}); none is fetched or run.")
        if isinstance(value, dict):
            _check_settings(value, path)
        if not isinstance(value, int):
            continue
        builds = any(word in name for word in BUILT) and "size" not in name
        most = MOST_LAYERS if builds else LARGEST_SETTING
        if abs(value) > most:
            raise BadInput(f"{path} says {name} {str(value)[:30]}; from {-most:,} to {most:,} is allowed.")


def _check_weights(folder: Path) -> None:
    """Refuse weights that are no safetensors, not whole, or Git LFS pointers."""
    for path in weight_files(folder):
        _check_pointer(path)
        with _in_a_sentence(path), safe_open(path, "pt") as file:  # reads the header alone, held to the file's size
            for name in file.keys():  # noqa: SIM118 # it is no dict
                if (dtype := file.get_slice(name).get_dtype()) not in DTYPES:
                    raise BadInput(
                        f"{path} has {name[:80]!r} in the type {dtype}, as quantized weights are; weights have to be "
                        "in 16, 32 or 64 bits here."
                    )


def _indexed_files(folder: Path) -> list[Path]:
    """The files that the index of weights names; raises BadInput where one is elsewhere or missing."""
    _check_pointer(folder / INDEX)
    index = read_as(dict[str, Any], _json(folder / INDEX), f"{folder / INDEX}")
    files = read_as(dict[str, str], index.get("weight_map"), f"weight_map of {folder / INDEX}")
    if not files:
        raise BadInput(f"{folder / INDEX} names no file of weights.")
    for name in sorted(set(files.values())):
        if Path(name).name != name or "\\" in name or not name.endswith(".safetensors"):
            raise BadInput(f"{folder / INDEX} names {name[:80]!r}, which is no safetensors file of this folder.")
        if not (folder / name).is_file():
            raise BadInput(f"{folder / INDEX} names {name[:80]!r}, which is not there.")
    return [folder / name for name in sorted(set(files.values()))]


def _check_pointer(path: Path) -> None:
    """Raise BadInput where the file is a Git LFS pointer: a repository that was cloned without Git LFS has these."""
    if not path.is_file():
        return
    with path.open("rb") as file:
        start = file.read(len(POINTER))
    if start == POINTER:
        raise BadInput(
            f"{path} is a Git LFS pointer, not the file itself. Run `git lfs pull` in that folder, or download it."
        )


@contextmanager
def _in_a_sentence(place: Path) -> Iterator[None]:
    """Turn whatever a library raises over a user's file into a sentence: its parts raise all kinds of errors.

    Those written in Rust end in a panic, which is no Exception. Want of memory is said elsewhere.
    """
    try:
        yield
    except PmbError:
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        if shortage(error, None):
            raise
        words = " ".join(str(error).split())[:MOST_WORDS].rstrip(".") or type(error).__name__
        raise BadInput(f"{place} cannot be opened: {words}.") from error
