"""Downloads of a model's weights that somebody asked for on a page: each in a child, beside the server's other work."""

from __future__ import annotations

import threading
from dataclasses import asdict

from pmb.catalog.models import BaseModel
from pmb.errors import RunFailed
from pmb.lab.background import Work, begin
from pmb.lab.child import WAITED_FOR
from pmb.lab.executors import CHILD_COMMAND, Child
from pmb.lab.store import Store
from pmb.settings import Settings
from pmb.spec import Progress, Report

LISTEN_SECONDS = 0.25  # how soon it is seen that nobody wants it any more


class Downloads:
    """The downloads of this process, one a model, each in a thread."""

    def __init__(self) -> None:
        """Nothing is downloaded yet."""
        self._lock = threading.Lock()
        self._by_model: dict[str, Work] = {}

    def start(self, store: Store, settings: Settings, model: BaseModel) -> None:
        """Begin, or go on with what an earlier download brought, unless one goes on; raises NotAllowed."""
        store.check_may_write()
        with self._lock:
            before = self._by_model.get(model.id)
            if before and not before.ended:
                return
            download = self._by_model[model.id] = Work()

        def tell(progress: Progress) -> None:
            download.progress = progress

        begin(download, lambda: _ask(settings, model, tell, download.stop))

    def of(self, model: BaseModel) -> Work | None:
        """The newest download of a model, which may have ended."""
        with self._lock:
            return self._by_model.get(model.id)


def _ask(settings: Settings, model: BaseModel, report: Report, stop: threading.Event) -> None:
    """Let a child download the model; returns early where `stop` is set; raises RunFailed with the child's sentence."""
    child = Child([*CHILD_COMMAND, WAITED_FOR])
    try:
        child.send({"kind": "download", "model": asdict(model), "assets": str(settings.assets)})
        while not stop.is_set():
            message = child.receive(LISTEN_SECONDS)
            if message is None:
                continue
            if "error" in message:
                raise RunFailed(message["error"])
            if "progress" not in message:
                return
            report(Progress(**message["progress"]))
    finally:
        child.end()
