"""requirements.txt alone runs the lab: an environment in which no development package can be imported.

`make test` has just installed requirements.txt with pip; here what it and its dependencies brought is linked into an
environment of its own, since to install it again takes minutes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from pmb.settings import REPOSITORY, Settings

pytestmark = pytest.mark.slow

FEW = "from pmb.lab import plan; plan.SCORE_SENTENCES = 100; from pmb.cli import main; main()"
PAGE = "from streamlit.testing.v1 import AppTest; a = AppTest.from_file('streamlit_app.py', default_timeout=60).run()"


def asked_for() -> list[Requirement]:
    lines = (REPOSITORY / "requirements.txt").read_text(encoding="utf-8").splitlines()
    return [Requirement(line.partition("#")[0]) for line in lines if line.partition("#")[0].strip()]


def needed_by(requirements: list[Requirement]) -> dict[str, Distribution]:
    """What pip installs for them, by its canonical name."""
    found: dict[str, Distribution] = {}
    waiting = [(one, extra) for one in requirements for extra in ("", *one.extras)]
    seen = set()
    while waiting:
        one, extra = waiting.pop()
        name = canonicalize_name(one.name)
        if (name, extra) in seen or (one.marker and not one.marker.evaluate({"extra": ""})):
            continue
        seen.add((name, extra))
        found[name] = distribution(name)
        for text in found[name].requires or []:
            more = Requirement(text)
            if more.marker is None or more.marker.evaluate({"extra": extra}):
                more.marker = None
                waiting += [(more, further) for further in ("", *more.extras)]
    return found


def test_requirements_txt_alone_runs_the_lab(home_with_assets: Settings, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    venv.create(bare)
    site = Path(sysconfig.get_path("purelib", "venv", vars={"base": str(bare)}))
    needed = needed_by(asked_for())
    for one in needed.values():
        for name in {file.parts[0] for file in one.files or []} - {"..", "__pycache__"}:
            if not (site / name).exists():
                (site / name).symlink_to(Path(str(one.locate_file(name))))
    python = bare / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    environment = os.environ | {"PMB_HOME": str(home_with_assets.home)}

    def call(*arguments: str) -> str:
        done = subprocess.run(
            [str(python), *arguments], cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "pytest" not in needed
    assert call("-c", "import importlib.util; print(importlib.util.find_spec('pytest'))").strip() == "None"
    report = json.loads(call("-m", "pmb", "doctor", "--json"))
    assert report["ok"], report
    looked_at = {finding["what"] for finding in report["findings"]} - {"gpu"}
    assert looked_at == {"settings", "python", "libraries", "device", "assets", "weights", "store", "worker", "disk"}
    plan = call("-c", FEW, "plan", "--strategy", "contribution", "--drop", "2", "--json")
    assert len(json.loads(plan)["kept_layers"]) == 4
    shown = call("-c", PAGE + "; assert not a.exception; print(a.title[0].value)")
    assert shown.strip() == "How many layers can I drop?"


def test_every_pin_is_what_is_installed_here() -> None:
    for one in asked_for():
        assert one.specifier.contains(distribution(one.name).version), one
