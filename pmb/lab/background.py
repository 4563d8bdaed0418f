"""Work that a server does beside its other work, in a thread: how far it is, and the sentence with which it failed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from pmb.errors import PmbError
from pmb.spec import Progress


@dataclass(slots=True)
class Work:
    """Work that this process has begun; it may have ended, with an error or without."""

    stop: threading.Event = field(default_factory=threading.Event)
    progress: Progress = field(default_factory=lambda: Progress("starting"))
    error: str = ""
    ended: bool = False


def begin(work: Work, compute: Callable[[], None]) -> None:
    """Compute in a thread, and keep the sentence for a person where that fails."""
    threading.Thread(target=_to_its_end, args=(work, compute), daemon=True).start()


def _to_its_end(work: Work, compute: Callable[[], None]) -> None:
    try:
        compute()
    except PmbError as error:
        work.error = str(error)
    except OSError as error:
        work.error = f"No process could be started: {error.strerror or error}."
    finally:
        work.ended = True
