"""Pictures of what evaluations found."""

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

Line = list[tuple[int, float, float | None]]  # shots, mean score, half-width of its 95 % confidence interval


def against_shots(lines: dict[str, Line], kind: str, title: str, path: Path) -> None:
    """The score against shots, a line a label."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    draw_shots(figure.subplots(), lines, kind, title)
    figure.savefig(path, dpi=150)


def draw_shots(axes: Axes, lines: dict[str, Line], kind: str, title: str) -> None:
    """Lines with their intervals, accuracies in per cent."""
    scale = 100 if kind == "accuracy" else 1
    for label, points in lines.items():
        shots, means, intervals = zip(*sorted(points), strict=True)
        bars = [scale * (ci95 or 0) for ci95 in intervals]
        axes.errorbar(shots, [scale * mean for mean in means], bars, marker="o", capsize=3, label=label)
    ticks = sorted({shots for points in lines.values() for shots, *_ in points})
    axes.set_xticks(ticks, map(str, ticks))
    axes.set(title=title, xlabel="shots", ylabel=unit(kind))
    axes.grid(alpha=0.3)
    axes.legend()


def unit(kind: str) -> str:
    return "accuracy (%)" if kind == "accuracy" else "mean squared error"
