"""Uploads: kept once, whole or not at all, under names that cannot leave their folder."""

from __future__ import annotations

import sys
import tomllib
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as chances
from hypothesis import strategies as st

from pmb.bounds import MOST_MEGABYTES
from pmb.catalog.tasks import Table, Task
from pmb.errors import BadInput, PmbError, RunFailed
from pmb.lab import uploads
from pmb.lab.executors import Child, Limits, ask
from pmb.lab.store import Store
from pmb.settings import REPOSITORY, Settings

CONTENT = b"text,label\nx,a\n"


def test_the_same_file_is_kept_once(store: Store, settings: Settings) -> None:
    path = uploads.keep(store, settings, "My reviews (1).CSV", CONTENT)
    assert path.name == "My-reviews-1.csv"
    assert path.read_bytes() == CONTENT
    first = path.stat().st_mtime_ns
    assert uploads.keep(store, settings, "My reviews (1).CSV", CONTENT) == path
    assert path.stat().st_mtime_ns == first
    assert uploads.keep(store, settings, "My reviews (1).CSV", CONTENT + b"y,b\n") != path
    assert [found.name for found in path.parent.iterdir()] == [path.name]


def test_half_a_file_is_written_again(store: Store, settings: Settings) -> None:
    path = uploads.keep(store, settings, "a.csv", CONTENT)
    path.write_bytes(CONTENT[:5])
    assert uploads.keep(store, settings, "a.csv", CONTENT).read_bytes() == CONTENT


@given(name=st.text(max_size=300))
@chances(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
def test_no_name_leaves_the_folder(store: Store, settings: Settings, name: str) -> None:
    path = uploads.keep(store, settings, name + ".csv", CONTENT)
    assert path.resolve().parent.parent == (settings.home / "uploads").resolve()
    assert path.name == uploads.safe_name(path.name)
    assert len(path.name) <= uploads.MOST_CHARACTERS + len(".csv")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("virus.exe", CONTENT, "'virus.exe' is no table that can be read: .csv, .tsv, .jsonl, .parquet are."),
        ("csv", CONTENT, "'csv' is no table"),
        ("a.csv", b"", "'a.csv' is empty."),
    ],
)
def test_what_cannot_be_a_table_is_refused(
    store: Store, settings: Settings, name: str, content: bytes, said: str
) -> None:
    with pytest.raises(BadInput) as caught:
        uploads.keep(store, settings, name, content)
    assert str(caught.value).startswith(said)
    assert not (settings.home / "uploads").exists()


def test_too_large_is_refused(store: Store, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "MOST_MEGABYTES", 0)
    with pytest.raises(BadInput, match="at most 0 are allowed"):
        uploads.keep(store, settings, "a.csv", CONTENT)


def test_a_folder_that_cannot_be_written_is_one_sentence(store: Store, settings: Settings) -> None:
    (settings.home / "uploads").write_text("a file in the way")
    with pytest.raises(PmbError, match="cannot be kept in"):
        uploads.keep(store, settings, "a.csv", CONTENT)


def test_the_browser_may_send_what_the_lab_may_keep() -> None:
    config = tomllib.loads((REPOSITORY / ".streamlit" / "config.toml").read_text())
    assert config["server"]["maxUploadSize"] == MOST_MEGABYTES


@pytest.mark.slow
def test_a_preview_comes_from_a_child_and_a_fault_names_its_row(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b"text,label\n" + b"a b,x\nc,y\n" * 10)
    found = uploads.preview(Table(str(path)))
    assert (found.rows, found.text, found.label) == (20, "text", "label")
    path.write_bytes(b"text,label\n")
    with pytest.raises(BadInput, match="t.csv has no rows"):
        uploads.preview(Table(str(path)))


def eats(what: str) -> Child:
    """A child that takes a job and then does this."""
    script = f'import sys, time\nprint(\'{{"device": ""}}\', flush=True)\nsys.stdin.readline()\n{what}'
    return Child([sys.executable, "-c", script])


@pytest.mark.parametrize(
    ("what", "limits", "said"),
    [
        ("held = [bytearray(b'x') * 10**7 for _ in range(10**9)]", Limits(200, 60), "more than 200 MB of memory"),
        ("time.sleep(600)", Limits(2000, 0.3), "longer than 0 s"),
    ],
)
def test_a_child_that_goes_beyond_its_limits_is_stopped(what: str, limits: Limits, said: str) -> None:
    child = eats(what)
    with pytest.raises(RunFailed, match=f"Reading it took {said} and was stopped"):
        child.ask({"kind": "look"}, lambda _: None, limits)
    assert not child.alive


HEADER = ",".join(f'"c\n{i}"' for i in range(100_001))
BOMBS: dict[str, tuple[str, str, str]] = {
    "names with line ends": ("t.csv", f"{HEADER}\n", "a first row of more than 100,000 characters"),
    "commas": ("t.csv", "," * 20_000_000, "a first row of more than 100,000 characters"),
    "short names": ("t.tsv", "a\t" * 40_000 + "\n", "40,000 columns; at most 1,000 are allowed"),
    "a row without end": ("t.csv", 'a,"b, c"\n"' + "x,\n" * 1_000_000, "the row has more than 1,000,000 characters"),
    "a wide row": ("t.csv", "a,b\n" + "1," * 400_000, "line 2 has 400001 cells, its first row 2"),
    "empty lines": ("t.csv", "a,b\n" + "\n" * 1_100_000, "more than 1,000,000 rows and empty lines"),
    "brackets": ("t.jsonl", '{"a": ' + "[" * 20_000_000, "line 1: the row has more than 1,000,000 characters"),
    "lists of lists": ("t.jsonl", '{"a": [' + "[]," * 300_000 + "1]}\n", "none that can be used, and 'a' with lists"),
    "deep": ("t.jsonl", '{"a": ' + "[" * 400_000 + "]" * 400_000 + "}\n", "it is nested too deeply"),
    "names": ("t.jsonl", "{" + ",".join(f'"n{i}":1' for i in range(50_000)) + "}", "50,000 columns; at most 1,000"),
}


@pytest.mark.parametrize("kind", BOMBS)
def test_a_table_that_is_made_to_be_too_large_is_refused_in_little_memory(tmp_path: Path, kind: str) -> None:
    name, content, said = BOMBS[kind]
    (tmp_path / name).write_text(content)
    job = {
        "kind": "inspect task",
        "row": asdict(Task("csv:t", "t", ("accuracy",), (), "", "", "", table=Table(str(tmp_path / name)))),
        "assets": "",
    }
    with pytest.raises(RunFailed) as caught:
        ask(job, limits=Limits(400, 30))
    assert said in str(caught.value)
