"""What dropping layers saves: parameters, file, memory, time of fine-tuning and of inference, by drop count."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from pmb.insight.summary import inference_speedup, speed_by_depth, tuning_speedup

Row = Mapping[str, Any]

SHAPES = {"batch 32": (32, 32), "batch 1": (1, 32)}  # of inference: sentences and tokens
TUNING = "fine-tuning"
MEMORY = "memory"
COLUMNS = ("drop_count", "depth", "parameters", "megabytes")


def costs(
    runs: Sequence[Row], latencies: Sequence[Row], memories: Sequence[Row], num_hidden_layers: int
) -> pd.DataFrame:
    """A row a drop count that anything is measured at, 0 among them: COLUMNS, whatever was not measured NaN.

    For the peak memory ("memory", in megabytes; of one machine) and each speed-up ("fine-tuning", "batch 32",
    "batch 1") the columns `name`, `name low` and `name high`.
    """
    sizes = {len(run["kept_layers"]): (run["parameters"], run["megabytes"]) for run in runs}
    if runs:
        sizes[num_hidden_layers] = (runs[0]["whole_model_parameters"], runs[0]["whole_model_megabytes"])
    peaks: dict[int, list[float]] = defaultdict(list)
    for row in memories:
        peaks[len(row["kept_layers"])].append(row["peak_megabytes"])
    depths = sorted({*sizes, *peaks, *(row["depth"] for row in latencies)}, reverse=True)
    speeds = {name: speed_by_depth(latencies, num_hidden_layers, *shape) for name, shape in SHAPES.items()}
    rows = []
    for depth in depths:
        parameters, megabytes = sizes.get(depth, (None, None))
        row = {"drop_count": num_hidden_layers - depth, "depth": depth}
        row |= {"parameters": parameters, "megabytes": megabytes}
        if depth < num_hidden_layers:
            ratios = {TUNING: tuning_speedup(depth, runs, num_hidden_layers)}
            ratios |= {name: inference_speedup(depth, speed) for name, speed in speeds.items()}
            for name, ratio in ratios.items():
                if ratio:
                    row |= {name: ratio.mean, f"{name} low": ratio.low, f"{name} high": ratio.high}
        if depth in peaks:
            low, middle, high = pd.Series(peaks[depth]).quantile([0.1, 0.5, 0.9])
            row |= {MEMORY: middle, f"{MEMORY} low": low, f"{MEMORY} high": high}
        rows.append(row)
    names = [f"{name}{end}" for name in (MEMORY, TUNING, *SHAPES) for end in ("", " low", " high")]
    return pd.DataFrame(rows, columns=[*COLUMNS, *names]).astype(dict.fromkeys(names, float))


def on_one_machine(memories: Sequence[Row]) -> list[Row]:
    """Peaks of one device and machine (its threads and product type too), since others are not comparable.

    Those with the most depths measured; of equals the ones measured last.
    """
    groups: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in memories:
        groups[row["device"], row["machine"]].append(row)

    def rank(group: list[Row]) -> tuple[int, float]:
        return len({len(row["kept_layers"]) for row in group}), max(row["measured_at"] for row in group)

    return max(groups.values(), key=rank, default=[])


def outside_layers(table: pd.DataFrame, name: str) -> float | None:
    """What no cut saves of a size or of the memory, in its unit: what is not in the layers or for them.

    The straight line through the deepest and the shallowest model, at no layers. None where depth changes nothing.
    """
    known = table.dropna(subset=[name])
    if known[name].nunique() < 2:
        return None
    whole, least = known.iloc[0], known.iloc[-1]
    a_layer = (whole[name] - least[name]) / (whole["depth"] - least["depth"])
    return float(whole[name] - a_layer * whole["depth"]) if a_layer > 0 else None


def cost_sentence(table: pd.DataFrame, drop_count: int, num_hidden_layers: int) -> str:
    """The page's question answered at one drop count, as far as it is measured."""
    what = f"Dropping {drop_count} of {num_hidden_layers} layers"
    here, whole = table[table["drop_count"] == drop_count], table[table["drop_count"] == 0]
    if here.empty:
        return f"{what} has not been measured yet."
    row, parts = here.iloc[0], []
    if len(whole) and pd.notna(row["parameters"]) and pd.notna(whole["parameters"].iloc[0]):
        saved = 100 * (1 - row["parameters"] / whole["parameters"].iloc[0])
        parts.append(f"saves {saved:.0f} % of the parameters and of the file")
    if len(whole) and pd.notna(row[MEMORY]) and pd.notna(whole[MEMORY].iloc[0]):
        less = round(100 * (1 - row[MEMORY] / whole[MEMORY].iloc[0]))
        parts.append(f"needs {f'{less} %' if less > 0 else 'no'} less memory to fine-tune")
    if pd.notna(row[TUNING]):
        parts.append(f"fine-tunes {row[TUNING]:.1f} times as fast")
    answers = [f"{row[name]:.1f} times as fast at {name}" for name in SHAPES if pd.notna(row[name])]
    if answers:
        parts.append(f"answers {' and '.join(answers)}")
    if not parts:
        return f"{what} has not been measured yet."
    joined = f"{', '.join(parts[:-1])} and {parts[-1]}" if len(parts) > 1 else parts[0]
    ideal = num_hidden_layers / (num_hidden_layers - drop_count)
    timed = bool(answers) or pd.notna(row[TUNING])
    return f"{what} {joined}{f'; {ideal:.1f} times would be in proportion to depth' if timed else ''}."
