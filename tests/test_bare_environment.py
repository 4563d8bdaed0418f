"""requirements.txt alone runs the lab: a fresh virtual environment, no development package in it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from pmb.settings import REPOSITORY, Settings

pytestmark = pytest.mark.slow


def test_requirements_txt_alone_runs_the_lab(home_with_assets: Settings, tmp_path: Path) -> None:
    venv.create(tmp_path / "bare", with_pip=True)
    python = tmp_path / "bare" / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    environment = os.environ | {"PMB_HOME": str(home_with_assets.home)}

    def call(*arguments: str) -> str:
        done = subprocess.run(
            [str(python), *arguments], cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    call("-m", "pip", "install", "--quiet", "--no-compile", "--disable-pip-version-check", "-r", "requirements.txt")
    assert json.loads(call("-m", "pmb", "doctor", "--json"))["ok"]
    plan = call("-m", "pmb", "plan", "--strategy", "contribution", "--drop", "2", "--json")
    assert len(json.loads(plan)["kept_layers"]) == 4
    page = (
        "from streamlit.testing.v1 import AppTest; a = AppTest.from_file('streamlit_app.py', default_timeout=60).run()"
    )
    assert (
        call("-c", page + "; assert not a.exception; print(a.title[0].value)").strip() == "How many layers can I drop?"
    )
