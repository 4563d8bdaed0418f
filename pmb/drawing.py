"""Charts as SVG, drawn in a process of its own: python -m pmb.drawing, JSON in and out.

The library that draws brings a JavaScript engine, which would stay in the memory of the page's server, and aborts the
whole process on some strings, such as one with a control character.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from pmb.letters import visible
from pmb.settings import REPOSITORY

VEGA_LITE = "6.4"  # the version that altair writes; a test compares
FONT = "Arial, Helvetica, Liberation Sans, sans-serif"  # as wide as what the drawing was measured with
MOST_SECONDS = 60


def draw(specifications: Sequence[dict[str, Any]], widths: Sequence[int]) -> list[list[str]]:
    """Each Vega-Lite chart as SVG at each width in pixels, or at its own where it has one.

    Empty lists where nothing could be drawn, which is said on stderr.
    """
    if not specifications:
        return []
    job = json.dumps([[_seen(one), *widths] for one in specifications])
    command = [sys.executable, "-m", "pmb.drawing"]
    try:
        done = subprocess.run(
            command, input=job, stdout=subprocess.PIPE, cwd=REPOSITORY, text=True, timeout=MOST_SECONDS, check=True
        )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        print(f"No chart of a report could be drawn: {error}", file=sys.stderr, flush=True)
        return [[] for _ in specifications]
    drawn: list[list[str]] = json.loads(done.stdout)
    return drawn


def _seen(value: Any) -> Any:
    """The same with every string's control characters as signs."""
    if isinstance(value, dict):
        return {visible(str(name)): _seen(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_seen(one) for one in value]
    return visible(value) if isinstance(value, str) else value


def main() -> None:
    """Draw what stdin asks for; nothing is fetched for a chart."""
    import vl_convert  # here alone

    def svg(specification: dict[str, Any], pixels: int) -> str:
        fitted = {"width": pixels, "autosize": {"type": "fit", "contains": "padding"}} | specification
        drawing: str = vl_convert.vegalite_to_svg(fitted, VEGA_LITE, config={"font": FONT}, allowed_base_urls=[])
        return drawing

    jobs = json.load(sys.stdin)
    json.dump([[svg(specification, pixels) for pixels in widths] for specification, *widths in jobs], sys.stdout)


if __name__ == "__main__":
    main()
