"""The rules of the house: who may import what, and what no page may do."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pmb.screen import controls
from pmb.settings import REPOSITORY

HEAVY = {"torch", "transformers", "datasets"}
FORBIDDEN = {
    "pages": HEAVY | {"pmb.engine"},
    "pmb/screen": HEAVY | {"pmb.engine"},
    "pmb/charts": HEAVY | {"streamlit", "pmb.engine", "pmb.lab"},
    "pmb/insight": HEAVY | {"streamlit", "pmb.engine", "pmb.lab"},
    "pmb/lab": HEAVY | {"streamlit", "pandas"},
    "pmb/engine": {"streamlit", "sqlalchemy", "pmb.lab", "pmb.insight", "pmb.charts", "pmb.screen"},
    "pmb/catalog": HEAVY | {"streamlit", "sqlalchemy", "pmb.lab", "pmb.engine", "pmb.insight"},
    "pmb/spec.py": {"pmb.lab", "pmb.engine", "pmb.insight", "pmb.catalog", "pandas"} | HEAVY,
    "pmb/report.py": HEAVY | {"streamlit", "pmb.lab", "pmb.engine"},
    "pmb/drawing.py": HEAVY | {"streamlit", "pmb.lab", "pmb.engine"},
    "pmb/api.py": HEAVY | {"streamlit"},
    "pmb/cli.py": HEAVY | {"streamlit", "pandas"},
    "streamlit_app.py": HEAVY,
}
DRAWS = ("pages", "pmb/screen", "streamlit_app.py", "pmb/page_server.py")  # what may import streamlit
THE_CHILD = REPOSITORY / "pmb" / "lab" / "child.py"  # the one file of lab that reaches into the engine
SOURCES = [p for room in ("pmb", "pages") for p in (REPOSITORY / room).rglob("*.py")] + [
    REPOSITORY / "streamlit_app.py"
]


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("room", FORBIDDEN)
def test_a_room_imports_only_what_it_may(room: str) -> None:
    place = REPOSITORY / room
    files = [place] if place.is_file() else sorted(place.rglob("*.py"))
    assert files
    for path in files:
        wrong = {
            name
            for name in imported(path)
            for forbidden in FORBIDDEN[room]
            if name == forbidden or name.startswith(forbidden + ".")
        }
        assert not wrong, f"{path.relative_to(REPOSITORY)} imports {sorted(wrong)}"


def test_only_the_child_lets_the_engine_into_the_lab() -> None:
    for path in (REPOSITORY / "pmb" / "lab").rglob("*.py"):
        reaches = {name for name in imported(path) if name.startswith("pmb.engine")}
        assert not reaches or path == THE_CHILD, path


def test_only_pages_and_what_they_are_made_of_import_streamlit() -> None:
    for path in SOURCES:
        if any(name.split(".")[0] == "streamlit" for name in imported(path)):
            place = path.relative_to(REPOSITORY).as_posix()
            assert any(place == room or place.startswith(f"{room}/") for room in DRAWS), path


def printed_lines(code: str, home: Path) -> list[str]:
    """What a fresh Python prints that runs the code with an environment of its own."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=REPOSITORY,
        env={"PMB_HOME": str(home), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


@pytest.mark.slow
def test_opening_every_page_and_the_command_line_loads_no_torch(tmp_path: Path) -> None:
    code = """
import sys
from streamlit.testing.v1 import AppTest
import pmb.cli
app = AppTest.from_file("streamlit_app.py", default_timeout=30).run()
from pathlib import Path
for page in sorted(Path("pages").glob("*.py")):
    app.switch_page(str(page)).run()
    assert not app.exception, app.exception
print(sorted({"torch", "transformers", "datasets"} & set(sys.modules)))
"""
    assert printed_lines(code, tmp_path)[-1] == "[]"


def test_a_cached_answer_by_command_imports_only_what_it_needs(tmp_path: Path) -> None:
    code = """
import sys
sys.argv = "pmb run --strategy top --drop 2 --recipe full --json".split()
import pmb.cli
pmb.cli.main()
print(sorted({"numpy", "scipy", "pandas", "psutil", "alembic", "streamlit", "torch"} & set(sys.modules)))
"""
    for expected in ("['alembic']", "[]"):  # the first time makes the store
        answer, imported = printed_lines(code, tmp_path)
        assert json.loads(answer)["cached"] is True
        assert imported == expected


def test_no_page_has_the_url_of_a_file_in_pages() -> None:
    urls = set(re.findall(r'^    "(\w+)": \(', (REPOSITORY / "streamlit_app.py").read_text(), re.MULTILINE))
    assert len(urls) == 8
    assert not urls & {path.stem for path in (REPOSITORY / "pages").glob("*.py")}


@pytest.mark.parametrize(
    "pattern",
    [
        r"use_container_width",
        r"components\.v1",
        r"unsafe_allow_html",
        r"st\.experimental",
        r"st\.html\(",
        r"\bpickle\b",
        r"torch\.load\(",
        r"trust_remote_code(?!=False|\": False)",
    ],
)
def test_nothing_deprecated_or_unsafe_is_used(pattern: str) -> None:
    for path in SOURCES:
        assert not re.search(pattern, path.read_text(encoding="utf-8")), path


@pytest.mark.slow  # a minute on one core where nothing is cached: as long as other tests wait for their processes
def test_every_type_is_right() -> None:
    done = subprocess.run([sys.executable, "-m", "mypy"], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_requirements_are_pinned_exactly() -> None:
    for name in ("requirements.txt", "requirements-dev.txt", "requirements-onnx.txt", "requirements-ray.txt"):
        for line in (REPOSITORY / name).read_text().splitlines():
            assert not line or line.startswith(("#", "-r ")) or re.fullmatch(r"[a-z0-9-]+==[\w.]+", line), line


def test_what_writes_is_drawn_by_one_function_alone() -> None:
    """A button of another kind than `ui.action` is drawn for who may only look; these files draw such."""
    look = {
        "controls.py",
        "guide.py",
        "search_part.py",
        "selection.py",
        "try_page.py",
        "visitors.py",
        "ui.py",
        "your_table.py",
    }
    for path in SOURCES:
        if path.name not in look:
            assert not re.search(r"st\.button\(|\bplace\.button\(", path.read_text(encoding="utf-8")), path


def test_one_file_alone_opens_models_and_tokenizers() -> None:
    for path in SOURCES:
        found = re.search(r"\.from_pretrained\(|\.from_config\(|safe_open\(", path.read_text(encoding="utf-8"))
        assert not found or path.name in ("folder.py", "checkpoints.py"), path


def test_the_address_of_a_page_names_the_shared_controls_that_it_has() -> None:
    calls = {"k": "choose_drop("} | {key: f"choose_{key}(" for key in controls.BY_DEFAULT}
    for page, keys in controls.ON_PAGE.items():
        text = (REPOSITORY / "pages" / f"{page or 'explore'}_page.py").read_text()
        assert {key for key, call in calls.items() if f"controls.{call}" in text} == set(keys), page
