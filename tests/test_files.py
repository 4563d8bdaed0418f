"""Files that are whole or not there: whatever happens while they are written."""

from __future__ import annotations

import multiprocessing
import os
import time
from pathlib import Path

import pytest

from pmb.files import PART, move_whole, whole_file, write_whole


def test_an_error_while_writing_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "file.json"
    write_whole(path, b"old")

    def break_off() -> None:
        with whole_file(path) as beside:
            beside.write_bytes(b"hal")
            raise ValueError("in the middle")

    with pytest.raises(ValueError, match="in the middle"):
        break_off()
    assert path.read_bytes() == b"old"
    assert os.listdir(path.parent) == ["file.json"]


def _write_for_ever(path: Path) -> None:
    for i in range(10**6):
        write_whole(path, bytes([i % 256]) * 2_000_000)


def test_a_writer_killed_at_any_moment_leaves_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for delay_seconds in (0.02, 0.05, 0.09):
        writer = multiprocessing.get_context("fork").Process(target=_write_for_ever, args=(path,))
        writer.start()
        give_up = time.monotonic() + 10
        while not path.exists() and time.monotonic() < give_up:
            time.sleep(0.01)
        time.sleep(delay_seconds)
        writer.kill()
        writer.join()
        content = path.read_bytes()
        assert len(content) == 2_000_000
        assert len(set(content)) == 1


def test_what_is_written_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    synced, replaced = os.fsync, Path.replace

    def fsync(file: int) -> None:
        done.append(f"sync {Path(os.readlink(f'/proc/self/fd/{file}')).name}")
        synced(file)

    def replace(self: Path, target: Path) -> Path:
        done.append(f"rename to {target.name}")
        return replaced(self, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", replace)
    write_whole(tmp_path / "a", b"content")
    part, rename, folder = done
    assert part.startswith("sync a.")
    assert part.endswith(PART)
    assert (rename, folder) == ("rename to a", f"sync {tmp_path.name}")
    done.clear()
    (tmp_path / "scratch").mkdir()
    (tmp_path / "scratch" / "b").write_bytes(b"content")
    move_whole(tmp_path / "scratch", tmp_path / "c")
    assert done == ["sync scratch", "sync b", "rename to c", f"sync {tmp_path.name}"]
    assert (tmp_path / "c" / "b").read_bytes() == b"content"
