"""The dashboard and its worker as two processes under one supervisor: what `make run` starts."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time

from pmb.errors import BadInput, PmbError
from pmb.lab.worker import worker_is_here
from pmb.settings import REPOSITORY, Settings

ADDRESS = "127.0.0.1"
LOOK_SECONDS = 1.0
END_SECONDS = 5.0


def check_port(port: int) -> None:
    """Raise BadInput when something listens there already."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((ADDRESS, port))
        except OSError as error:
            reason = error.strerror or error
            raise BadInput(
                f"Port {port} on {ADDRESS} cannot be used ({reason}); choose another: `make run PORT={port + 1}`."
            ) from error


def serve(settings: Settings, port: int) -> None:
    """Serve until interrupted; a worker that dies is started again."""
    page = [sys.executable, "-m", "pmb.page_server", "run", str(REPOSITORY / "streamlit_app.py")]
    page += ["--server.address", ADDRESS, "--server.port", str(port), "--server.headless", "true"]
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    server = subprocess.Popen(page, cwd=REPOSITORY)
    worker = None
    print(f"Poor Man's BERT Lab: http://{ADDRESS}:{port} (Ctrl-C ends it)", flush=True)
    try:
        while server.poll() is None:
            if (worker is None or worker.poll() is not None) and not worker_is_here(settings):
                worker = subprocess.Popen([sys.executable, "-m", "pmb", "worker"], cwd=REPOSITORY, env=os.environ)
            time.sleep(LOOK_SECONDS)
        raise PmbError(f"The page server ended by itself with code {server.returncode}; its words are above.")
    except KeyboardInterrupt:
        print("Ending; a running fine-tune goes back to the queue.", flush=True)
    finally:
        _end(server, worker)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _end(*processes: subprocess.Popen[bytes] | None) -> None:
    for process in processes:
        if process is not None:
            process.terminate()
    for process in processes:
        if process is not None:
            try:
                process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
