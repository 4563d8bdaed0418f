"""Models and data of the Hugging Face Hub: looked up once, pinned to a commit, downloaded with progress, used offline.

The Hub's own cache keeps the files (`HF_HOME`), so that other programs share them; `HF_ENDPOINT`, `HF_TOKEN` and
`HF_HUB_OFFLINE` are huggingface_hub's.
"""

from __future__ import annotations

import fnmatch
import io
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
from huggingface_hub import HfApi, hf_hub_download, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from tqdm.std import tqdm  # type: ignore[import-untyped]

from pmb.engine import network
from pmb.errors import BadInput, HubUnavailable

ANSWER_SECONDS = 5.0  # how long the Hub may take to answer a question
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"  # one set of weights, in the format that is opened
SHARDS = "model-*-of-*.safetensors"
FILES = (
    "config.json",
    *("tokenizer*", "vocab*", "merges.txt", "special_tokens_map.json", "added_tokens.json"),
    *("spiece.model", "sentencepiece.bpe.model", "spm.model"),
)

Bytes = Callable[[int, int], None]  # how many of how many bytes are there


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which files of which kind of repository; `otherwise` is what a user can do where they cannot be had."""

    kind: str  # "model" or "dataset"
    files: tuple[str, ...]
    needed: tuple[str, ...]  # each is a pattern that some file must match
    otherwise: str
    left_out: tuple[str, ...] = ()  # patterns of files that are not wanted, though `files` match them
    instead: Wanted | None = None  # what is wanted of a repository that does not have the `needed` files

    @property
    def patterns(self) -> dict[str, Any]:
        """The files, as huggingface_hub takes them."""
        return {"allow_patterns": list(self.files), "ignore_patterns": list(self.left_out)}


# A repository may have checkpoints and ONNX files in folders, and variants beside the weights: none of them is fetched.
NO_FOLDERS = ("*/*",)
SHARDED = Wanted("model", (*FILES, INDEX, SHARDS), (INDEX, SHARDS), "name a folder with the model", NO_FOLDERS)
MODEL = Wanted("model", (*FILES, WEIGHTS), (WEIGHTS,), SHARDED.otherwise, NO_FOLDERS, SHARDED)


def glue_files(task: str) -> Wanted:
    """The train and dev files of one task of the Hub's GLUE."""
    files = (f"{task}/train-*.parquet", f"{task}/validation*.parquet")
    return Wanted("dataset", files, files, "set PMB_GLUE_DIR to a folder in the official GLUE layout")


def look_up(repo: str, revision: str) -> tuple[str, Path, str]:
    """The commit that a model's revision names, a folder with its config, and the SHA-256 of its one file of weights.

    The SHA-256 is empty where the Hub does not tell it. Raises BadInput, HubUnavailable.
    """
    with _in_sentences(repo, revision, MODEL):
        info = HfApi().model_info(repo, revision=revision, timeout=ANSWER_SECONDS, files_metadata=True)
        files = [file.rfilename for file in info.siblings or ()]
        if not _of_these(files, MODEL):
            raise BadInput(_no_weights(repo, files))
        assert info.sha is not None
        config = hf_hub_download(repo, "config.json", revision=info.sha, etag_timeout=ANSWER_SECONDS)
    digests = [file.lfs.sha256 for file in info.siblings or () if file.rfilename == WEIGHTS and file.lfs]
    return info.sha, Path(config).parent, next(iter(digests), "")


def newest_commit(repo: str, wanted: Wanted) -> str:
    """The commit that is the newest now; raises BadInput, HubUnavailable."""
    with _in_sentences(repo, "main", wanted):
        commit = HfApi().repo_info(repo, revision="main", repo_type=wanted.kind, timeout=ANSWER_SECONDS).sha
    assert commit is not None
    return commit


def download(repo: str, commit: str, wanted: Wanted, report: Bytes) -> Path:
    """The folder with the wanted files, downloaded where they are not all here; raises BadInput, HubUnavailable.

    What an interrupted download has brought is not brought again. Asks nobody when everything is here.
    """
    if folder := here(repo, commit, wanted):
        return folder
    with _in_sentences(repo, commit, wanted):
        # snapshot_download tries for half a minute where nobody answers; this question is asked once.
        info = HfApi().repo_info(repo, revision=commit, repo_type=wanted.kind, timeout=ANSWER_SECONDS)
        files = [file.rfilename for file in getattr(info, "siblings", None) or ()]
        wanted = _of_these(files, wanted) or wanted
        how: dict[str, Any] = {"etag_timeout": ANSWER_SECONDS, "tqdm_class": _bar(report), "repo_type": wanted.kind}
        folder = Path(snapshot_download(repo, revision=commit, **wanted.patterns, **how))
    if lacking := _lacking(folder, wanted):
        raise BadInput(f"{repo} has no file {lacking} on the Hub; {wanted.otherwise}.")
    return folder


def here(repo: str, commit: str, wanted: Wanted) -> Path | None:
    """The folder with the wanted files where all of them are on this machine; asks nobody."""
    how: dict[str, Any] = {"repo_type": wanted.kind, "local_files_only": True}
    try:
        folder = Path(snapshot_download(repo, revision=commit, **wanted.patterns, **how))
    except LocalEntryNotFoundError:  # also of a download that was interrupted
        return None
    if not _lacking(folder, wanted):
        return folder
    return here(repo, commit, wanted.instead) if wanted.instead else None  # `look_up` leaves the config alone


def _of_these(files: list[str], wanted: Wanted) -> Wanted | None:
    """What is wanted of a repository with these files; None where it has nothing of it."""
    left = [name for name in files if not any(fnmatch.fnmatchcase(name, one) for one in wanted.left_out)]
    if all(any(fnmatch.fnmatchcase(name, pattern) for name in left) for pattern in wanted.needed):
        return wanted
    return _of_these(files, wanted.instead) if wanted.instead else None


def _no_weights(repo: str, files: list[str]) -> str:
    """Why a model's repository cannot be used, in a sentence."""
    elsewhere = sorted(name for name in files if name.endswith(".safetensors"))
    if not elsewhere:
        return f"{repo} has no safetensors weights on the Hub; weights in other formats are not opened here."
    return f"{repo} has no {WEIGHTS} at its top on the Hub, only {elsewhere[0]}, which is not opened here."


def _lacking(folder: Path, wanted: Wanted) -> str | None:
    return next((pattern for pattern in wanted.needed if not any(folder.glob(pattern))), None)


def _bar(report: Bytes) -> type[tqdm]:
    """A progress bar that is drawn nowhere and tells how many bytes are there."""

    class Bar(tqdm):  # type: ignore[misc]
        def __init__(self, *arguments: Any, **settings: Any) -> None:
            settings.pop("bar_format", None)
            # Of huggingface_hub's two counts of bytes the one on disk; what an earlier download brought is in it.
            self.counts = str(settings.get("desc")).startswith("Reconstructing")
            super().__init__(*arguments, **settings | {"file": io.StringIO()})

        def update(self, n: float | None = 1) -> bool | None:
            drawn: bool | None = super().update(n)
            if self.counts and self.total:
                report(int(self.n), int(self.total))
            return drawn

    return Bar


@contextmanager
def _in_sentences(repo: str, revision: str, wanted: Wanted) -> Iterator[None]:
    """Turn the Hub's errors, and those of the way to it, into sentences for a user."""
    network.check_environment()
    try:
        yield
    except HFValidationError as error:
        raise BadInput(f"{repo!r} is no name of a {wanted.kind} on the Hub.") from error
    except GatedRepoError as error:
        raise HubUnavailable(
            f"{repo} is gated: accept its terms on the Hub and set HF_TOKEN to a token of your account."
        ) from error
    except RevisionNotFoundError as error:
        raise BadInput(f"{repo} has no revision {revision!r} on the Hub.") from error
    except RepositoryNotFoundError as error:
        raise BadInput(f"{repo} is not on the Hub, or it is private and HF_TOKEN is not set.") from error
    except RemoteEntryNotFoundError as error:
        raise BadInput(
            f"{repo} has no config.json on the Hub, so it is no model that transformers could open."
        ) from error
    except OfflineModeIsEnabled as error:
        raise HubUnavailable(
            f"{repo} is not on this machine, and HF_HUB_OFFLINE forbids to fetch it; unset it, or {wanted.otherwise}."
        ) from error
    except ssl.SSLError as error:
        raise network.certificate_error() or _unreachable(repo, wanted, error) from error
    except (LocalEntryNotFoundError, HfHubHTTPError, httpx2.HTTPError, ConnectionError, TimeoutError) as error:
        raise _unreachable(repo, wanted, error) from error
    except OSError as error:
        raise network.cache_error(error) from error


def _unreachable(repo: str, wanted: Wanted, error: BaseException) -> HubUnavailable:
    return HubUnavailable(
        f"The Hub cannot be reached for {repo} ({_reason(error)}); what has been downloaded is kept, so try again, or "
        f"{wanted.otherwise}."
    )


def _reason(error: BaseException) -> str:
    cause = error.__cause__ or error
    return (str(cause).strip().splitlines() or [type(cause).__name__])[0].rstrip(".")[:160]
