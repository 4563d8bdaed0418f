"""What a browser is sent of a chart: its Vega-Lite, and apart from it the rows that it draws."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import altair as alt
import pyarrow as pa

# Nothing is seen of it. It has the size of the plot and lies below all else, so that what points at it finds it last.
WORDS: dict[str, Any] = {
    "mark": {
        "type": "rect",
        "opacity": 0,
        "x": 0,
        "x2": "width",
        "y": 0,
        "y2": "height",
        "ariaRoleDescription": "summary",
    },
    "encoding": {"description": {"field": "words", "type": "nominal"}},
}


def specification(chart: alt.TopLevelMixin, words: str) -> dict[str, Any]:
    """A chart's Vega-Lite whose rows are named datasets, as Arrow; `words` are among them, read aloud as one mark.

    A browser that has drawn a chart, and is sent the same Vega-Lite with other rows, moves the marks; where rows, or
    words computed from them, stand within the Vega-Lite it builds the whole chart anew. Altair's check against the
    schema takes as long as all else that a click does: tests do it instead.
    """
    vega_lite = chart.to_dict(validate=False)
    vega_lite["layer"] = [WORDS | {"data": {"values": [{"words": words}]}}, *vega_lite["layer"]]
    names: dict[int, str] = {}
    datasets: dict[str, bytes] = {}
    for place, part in enumerate(_with_rows(vega_lite)):
        values = part["data"]["values"]
        # Layers with the same rows share a dataset. Rows that merely are equal do not: they may differ at the next
        # click, and other names would build the chart anew. All empty tuples are one object.
        name = names.setdefault(id(values) if values else -place, f"rows {place}")
        datasets.setdefault(name, _arrow(values))
        part["data"] = {"name": name}
    return vega_lite | {"datasets": datasets}


def _with_rows(part: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The chart and the charts that lie on it, where they have rows."""
    if "data" in part:
        yield part
    for layer in part.get("layer", ()):
        yield from _with_rows(layer)


def _arrow(values: Sequence[Mapping[str, Any]]) -> bytes:
    table = pa.Table.from_pylist(list(values))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())
