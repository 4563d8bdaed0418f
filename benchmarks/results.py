"""benchmarks/RESULTS.md: one section a benchmark, replaced as a whole when it is measured again."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from pmb.engine.device import device_name, machine_name, pick_device, versions

RESULTS = Path(__file__).parent / "RESULTS.md"
HEADING = "# Measured results\n\nEvery section is written by the command that it names.\n"


def write_section(title: str, text: str) -> None:
    """Replace the section of that title, or add it at the end."""
    content = RESULTS.read_text(encoding="utf-8") if RESULTS.exists() else HEADING
    section = f"\n## {title}\n\n{text}\n"
    old = re.compile(rf"\n## {re.escape(title)}\n.*?(?=\n## |\Z)", re.DOTALL)
    content = old.sub(lambda _: section, content) if old.search(content) else content + section
    RESULTS.write_text(content, encoding="utf-8")


def publish(title: str, lines: Iterable[str], write: bool, machine: str = "") -> None:
    """Print a section, closed by the line of the machine, this one and now, and put it into RESULTS.md if `write`."""
    text = "\n".join([*lines, "", machine or machine_line()])
    print(f"\n## {title}\n\n{text}")
    if write:
        write_section(title, text)


def machine_line() -> str:
    """Device, machine, versions and today's date in a sentence."""
    found = ", ".join(f"{name} {version}" for name, version in versions().items())
    return f"{device_name(pick_device())}; {machine_name(pick_device())}; {found}. {datetime.now(UTC).date()}."
