"""Pictures of what evaluations found."""

from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from lightning_meta.reports.comparison import Round

Line = list[tuple[int, float, float | None]]  # shots, mean score, half-width of its 95 % confidence interval


def against_shots(lines: dict[str, Line], kind: str, title: str, path: Path) -> None:
    """The score against shots, a line a label."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    draw_shots(figure.subplots(), lines, kind, title, colours(list(lines)))
    figure.savefig(path, dpi=150)


def comparison(facts: list[dict[str, Any]], rounds: list[Round], path: Path) -> None:
    """For each set and number of ways the score against shots; the score against the seconds to adapt, on the first of
    them; and the validation score against episodes of training, where the runs tell it. A colour a learner."""
    palette, kind = colours([one["learner"] for one in facts]), rounds[0].kind
    groups: dict[tuple[str, int], list[Round]] = {}
    for round in rounds:
        groups.setdefault((round.source, round.ways), []).append(round)
    # The two protocols of a checkpoint share its training.
    curves = {one["checkpoint"]: (one["learner"], one["validation"]) for one in reversed(facts) if one["validation"]}
    panels = len(groups) + 1 + bool(curves)
    columns = min(panels, 3)
    lines = -(-panels // columns)
    figure = Figure(figsize=(5 * columns, 4 * lines), layout="constrained")
    axes = list(figure.subplots(lines, columns, squeeze=False).flat)
    for panel, ((source, ways), of_group) in zip(axes, groups.items(), strict=False):
        found = {
            name: [(r.shots, r.cells[name]["mean"], r.cells[name]["ci95"]) for r in of_group if "mean" in r.cells[name]]
            for name in palette
        }
        title = source if kind == "mse" else f"{source}, {ways}-way"
        draw_shots(panel, {name: line for name, line in found.items() if line}, kind, title, palette)
    draw_cost(axes[len(groups)], next(iter(groups.values())), palette)
    if curves:
        draw_training(axes[len(groups) + 1], dict(curves.values()), kind, palette)
    for blank in axes[panels:]:
        blank.set_axis_off()
    figure.savefig(path, dpi=150)


def draw_shots(axes: Axes, lines: dict[str, Line], kind: str, title: str, palette: dict[str, str]) -> None:
    """Lines with their intervals, accuracies in per cent."""
    for label, points in lines.items():
        shots, means, intervals = zip(*sorted(points), strict=True)
        bars = [scale(kind) * (ci95 or 0) for ci95 in intervals]
        means = [scale(kind) * mean for mean in means]
        axes.errorbar(shots, means, bars, marker="o", capsize=3, label=label, color=palette[label])
    ticks = sorted({shots for points in lines.values() for shots, *_ in points})
    axes.set_xticks(ticks, map(str, ticks))
    finish(axes, title, "shots", kind)


def draw_cost(axes: Axes, rounds: list[Round], palette: dict[str, str]) -> None:
    """The score against the seconds to adapt, a point for each number of shots."""
    kind = rounds[0].kind
    for name, colour in palette.items():
        cells = [(round.shots, round.cells[name]) for round in rounds if "mean" in round.cells[name]]
        seconds, means = [c["adapt_seconds"] for _, c in cells], [scale(kind) * c["mean"] for _, c in cells]
        axes.plot(seconds, means, marker="o", label=name, color=colour)
        for (shots, _), x, y in zip(cells, seconds, means, strict=True):
            axes.annotate(f"{shots}", (x, y), textcoords="offset points", xytext=(4, 4), fontsize=8)
    powers(axes)
    finish(axes, f"{rounds[0].source}, {rounds[0].size} to {rounds[-1].size}", "seconds to adapt to a task", kind)


def draw_training(axes: Axes, curves: dict[str, Any], kind: str, palette: dict[str, str]) -> None:
    """The validation score against episodes of training, each run on its own validation episodes."""
    for name, points in curves.items():
        episodes, scores = zip(*points, strict=True)
        axes.plot(episodes, [scale(kind) * value for value in scores], label=name, color=palette[name])
    powers(axes)
    finish(axes, "meta-validation while training", "episodes (or flat batches) of training", kind)


def powers(axes: Axes) -> None:
    """A logarithmic x axis that is labelled at 1, 2, 5 of every power of ten."""
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def finish(axes: Axes, title: str, x: str, kind: str) -> None:
    axes.set(title=title, xlabel=x, ylabel="accuracy (%)" if kind == "accuracy" else "mean squared error")
    axes.grid(alpha=0.3)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8)


def colours(names: list[str]) -> dict[str, str]:
    return {name: f"C{i}" for i, name in enumerate(names)}


def scale(kind: str) -> int:
    return 100 if kind == "accuracy" else 1
