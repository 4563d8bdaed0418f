"""A small Hugging Face Hub on loopback: the parts of its protocol that models and datasets need."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

COMMIT = hashlib.sha1(b"the only commit").hexdigest()


@dataclass
class Repository:
    """Files by path; a gated one tells of itself and gives nothing away."""

    files: dict[str, bytes]
    gated: bool = False
    break_after: dict[str, int] = field(default_factory=dict)  # bytes of a file, after which a connection breaks once


@dataclass
class Hub:
    """What the server has, and what was asked of it."""

    repositories: dict[str, Repository]  # by owner/name; datasets as datasets/owner/name
    url: str = ""
    requests: list[tuple[str, str, int]] = field(default_factory=list)  # method, path, first byte

    def asked_for(self, part: str) -> list[int]:
        """From which byte on a file was fetched, once a request."""
        return [start for method, path, start in self.requests if method == "GET" and part in path]


@contextmanager
def serving(repositories: dict[str, Repository]) -> Iterator[Hub]:
    """Serve the repositories while the block runs."""
    hub = Hub(repositories)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub))
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _described(name: str, data: bytes) -> dict[str, Any]:
    """A file as the Hub tells of it where it is asked for `blobs`; weights lie in LFS."""
    lfs = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}
    return {"rfilename": name, "size": len(data)} | ({"lfs": lfs} if name.endswith(".safetensors") else {})


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

        def do_HEAD(self) -> None:
            self.answer()

        def do_GET(self) -> None:
            self.answer()

        def answer(self) -> None:
            path = urlsplit(self.path).path
            start = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").split("-")[0])
            hub.requests.append((self.command, path, start))
            bare = path.removeprefix("/api").removeprefix("/models").strip("/")
            kind = "datasets/" if bare.startswith("datasets/") else ""
            parts = bare.removeprefix(kind).split("/")
            repository = hub.repositories.get(kind + "/".join(parts[:2]))
            if repository is None:
                self.fail(401, "RepoNotFound")
            elif len(parts) > 3 and parts[3] not in ("main", COMMIT):
                self.fail(404, "RevisionNotFound")
            elif path.startswith("/api/") and parts[2] == "revision":
                siblings = [_described(name, data) for name, data in repository.files.items()]
                self.send({"id": "/".join(parts[:2]), "sha": COMMIT, "siblings": siblings, "tags": []})
            elif path.startswith("/api/"):
                self.send(
                    [
                        {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
                        for name, data in repository.files.items()
                    ]
                )
            elif repository.gated:
                self.fail(403, "GatedRepo")
            elif (name := "/".join(parts[4:])) not in repository.files:
                self.fail(404, "EntryNotFound")
            else:
                self.give(repository, name, start)

        def give(self, repository: Repository, name: str, start: int) -> None:
            data = repository.files[name]
            self.send_response(206 if start else 200)
            self.send_header("ETag", f'"{hashlib.sha1(data).hexdigest()}"')
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("Accept-Ranges", "bytes")
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
            self.send_header("Content-Length", str(len(data) - start))
            self.end_headers()
            if self.command == "HEAD":
                return
            stop = repository.break_after.pop(name, None)
            self.wfile.write(data[start : len(data) if stop is None else stop])
            if stop is not None:
                self.close_connection = True
                self.wfile.flush()
                self.connection.close()

        def send(self, value: Any) -> None:
            body = json.dumps(value).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def fail(self, status: int, code: str) -> None:
            self.send_response(status)
            self.send_header("X-Error-Code", code)
            self.send_header("X-Error-Message", code)
            self.send_header("Content-Length", "0")
            self.end_headers()

    return Handler
