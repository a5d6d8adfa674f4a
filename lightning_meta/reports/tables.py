"""Measurements and settings as lines of text: rows, columns, numbers."""

import json
from pathlib import Path
from typing import Any

from lightning_meta.training.measurements import Measurement


def size_name(protocol: dict[str, Any]) -> str | None:
    """The size of an episode in the name of a file or a curve, such as 5way_1shot; None if tasks have no size."""
    return f"{shown(protocol['ways'])}way_{shown(protocol['shots'])}shot" if "ways" in protocol else None


def protocol_line(stage: str, protocol: dict[str, Any], metric: str, without: tuple[str, ...] = ()) -> str:
    """Stage, data set and the settings of the protocol except for some."""
    settings = {name: value for name, value in protocol.items() if name not in without}
    if metric == "mse":
        settings.pop("ways", None)  # regression has none
    return f"{stage}: {', '.join(f'{name} {shown(value)}' for name, value in settings.items())}"


def is_elsewhere(trained_on: str | None, tested_on: str | None) -> bool:
    """Return whether a set was not trained on. Sets of one name are the same, wherever they are stored; those of a mixture
    (`lightning_meta.training.task_data.mixture_name`) are compared one by one."""
    trained, tested = (set(Path(str(name)).name.split("+")) for name in (trained_on, tested_on))
    return None not in (trained_on, tested_on) and not tested <= trained


def rows(measurements: list[Measurement]) -> list[str]:
    """One line per measurement."""
    lines = []
    for one in measurements:
        name = one.quantity.label if one.quantity.curve is None else f"{one.quantity.curve} {one.quantity.point}"
        interval = "" if one.ci95 is None else f"  +- {number(one.ci95, one.is_share)}"
        lines.append(f"  {name:16} {number(one.mean, one.is_share):>10}{interval}")
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
