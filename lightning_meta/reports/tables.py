"""Scores as lines: what was logged, grouped; rows, columns, numbers."""

import json
import math
from pathlib import Path
from typing import Any

Score = tuple[float, float | None]  # mean and half-width of its 95 % confidence interval, if it has one
Scores = dict[str, Score]


def grouped(tag: str, found: dict[str, float]) -> dict[str, Scores]:
    """What was logged below `tag`: what belongs to another protocol, seconds and memory by that name, the rest as scores."""
    groups: dict[str, Scores] = {"scores": {}}
    for name, value in found.items():
        label = name.removeprefix(f"{tag}/")
        if label == name or label == "error" or label.endswith("_ci95"):
            continue
        first, _, rest = label.partition("/")
        of_group = first in ("inductive", "transductive", "seconds", "memory")
        group = groups.setdefault(first, {}) if of_group else groups["scores"]
        ci95 = found.get(f"{name}_ci95", math.nan)
        group[rest if of_group else label] = (value, None if math.isnan(ci95) else ci95)
    return groups


def size_name(protocol: dict[str, Any]) -> str:
    """The size of an episode, where tasks have one, in the name of a file or a curve, such as _5way_1shot."""
    return f"_{shown(protocol['ways'])}way_{shown(protocol['shots'])}shot" if "ways" in protocol else ""


def protocol_line(found: dict[str, Any], kind: str, without: tuple[str, ...] = ()) -> str:
    """Stage, data set and the settings of the protocol except some."""
    settings = {name: value for name, value in found["protocol"].items() if name not in without}
    if kind == "mse":
        settings.pop("ways", None)  # regression has none
    return f"{found['stage']}: {', '.join(f'{name} {shown(value)}' for name, value in settings.items())}"


def is_elsewhere(trained_on: str | None, tested_on: str | None) -> bool:
    """Whether these are different data: sets of one name are the same, wherever they lie."""
    return None not in (trained_on, tested_on) and Path(str(trained_on)).name != Path(str(tested_on)).name


def rows(scores: Scores, kind: str, label: str = "") -> list[str]:
    """A line a score."""
    lines = []
    for name, (mean, ci95) in scores.items():
        percent = kind == "accuracy" and name not in ("loss", "nll")
        interval = "" if ci95 is None else f"  +- {number(ci95, percent)}"
        lines.append(f"  {label + name:16} {number(mean, percent):>10}{interval}")
    return lines


def number(value: float, percent: bool) -> str:
    """An accuracy in per cent with two digits; anything else with three, in scientific notation where it is extreme."""
    if percent:
        return f"{100 * value:.2f} %"
    return f"{value:.3f}" if value == 0 or 1e-2 <= abs(value) < 1e4 else f"{value:.2e}"


def aligned(lines: list[list[str]]) -> str:
    """Cells in columns."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip() for line in lines)


def described(spec: Any) -> str:
    """An object of a configuration in a line, such as Conv4(in_channels 1, image_size 28, pool false)."""
    if not isinstance(spec, dict) or "class_path" not in spec:
        return "-" if spec is None else str(spec)
    arguments = spec.get("init_args") or {}
    listed = ", ".join(f"{name} {json.dumps(value, default=str)}" for name, value in arguments.items())
    return spec["class_path"].rpartition(".")[2] + (f"({listed})" if listed else "")


def shown(value: Any) -> str:
    """A number, or a range as 1-5."""
    return "-".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
