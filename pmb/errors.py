"""Everything that the lab raises on purpose; each message is one sentence meant for a user.

PmbError
├── BadInput           a value the user gave cannot be used (also a ValueError)
├── AssetsUnavailable  the embedded model or data is missing, broken or cannot be downloaded
│   └── WeightsMissing the weights of a model of the catalog have not been downloaded yet
├── HubUnavailable     the Hugging Face Hub cannot be reached, or does not let this user in
├── StoreUnavailable   the database is locked, damaged or of a newer schema
│   └── DiskFull       the database cannot grow
├── NotAllowed         who asks may look at results here, but not run or change anything
├── QueueFull          more runs wait already than the lab takes
├── RunFailed          a run, or a measurement of layers, ended without a result
└── WorkerBusy         another worker already works this PMB_HOME
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence

MOST_SHOWN = 200  # characters of a name that nobody knows


class PmbError(Exception):
    """Base of all errors that are shown to a user as one sentence."""


class BadInput(PmbError, ValueError):
    """A value given by the user that cannot be used."""


class AssetsUnavailable(PmbError):
    """The embedded model or data is missing, broken or out of reach."""


class WeightsMissing(AssetsUnavailable):
    """The weights of a model have not been downloaded yet; `model` is its id."""

    def __init__(self, sentence: str, model: str) -> None:
        """The sentence for a person, and the model's id."""
        super().__init__(sentence)
        self.model = model


class HubUnavailable(PmbError):
    """The Hub is out of reach, or the model behind a gate."""


class StoreUnavailable(PmbError):
    """The database cannot be read or written."""


class DiskFull(StoreUnavailable):
    """The disk of the database is full."""


class NotAllowed(PmbError):
    """Whoever asks may look, but not run or change anything."""


class QueueFull(PmbError):
    """So many runs wait that no more are taken."""


class RunFailed(PmbError):
    """A run or a measurement ended without a result."""


class WorkerBusy(PmbError):
    """Another worker already works this PMB_HOME."""


def unknown_name(kind: str, name: str, known: Sequence[str]) -> BadInput:
    """Say that a name is unknown, which is the nearest, and which exist; of a very long name its beginning."""
    name = name if len(name) <= MOST_SHOWN else f"{name[:MOST_SHOWN]}…"
    nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
    return BadInput(f"Unknown {kind} {name!r}.{hint} There are: {', '.join(known)}.")
