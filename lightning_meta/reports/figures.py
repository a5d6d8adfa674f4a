"""Pictures of what evaluations found."""

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from lightning_meta.reports.comparison import Comparison, Curve, Round
from lightning_meta.reports.tables import shown

Line = list[tuple[int | float, float, float | None]]  # shots, mean score, half-width of its 95 % confidence interval


def against_shots(lines: dict[str, Line], metric: str, title: str, path: Path) -> None:
    """The score against shots, a line a label."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    draw_shots(figure.subplots(), lines, metric, title, colours(list(lines)))
    figure.savefig(path, dpi=150)


def picture_of_comparison(comparison: Comparison, path: Path) -> None:
    """For each set and number of ways the score against shots; the score against the seconds to adapt, on the first of
    them; and the validation score against episodes of training, where the runs tell it. A colour a learner."""
    rounds = comparison.rounds
    palette, metric = colours([one.learner for one in comparison.learners]), rounds[0].metric
    groups: dict[tuple[str, int | tuple[int, int]], list[Round]] = {}
    for round in rounds:
        groups.setdefault((round.source, round.ways), []).append(round)
    # The two protocols of a checkpoint share its training.
    curves = {one.checkpoint: (one.learner, one.validation) for one in reversed(comparison.learners) if one.validation}
    panels = len(groups) + 1 + bool(curves)
    columns = min(panels, 3)
    lines = -(-panels // columns)
    figure = Figure(figsize=(5 * columns, 4 * lines), layout="constrained")
    axes = list(figure.subplots(lines, columns, squeeze=False).flat)
    for panel, ((source, ways), of_group) in zip(axes, groups.items(), strict=False):
        points: dict[str, Line] = {name: [] for name in palette}
        for round in of_group:
            for name, score in round.scored.items():
                points[name].append((middle(round.shots), score.mean, score.ci95))
        title = source if metric == "mse" else f"{source}, {shown(ways)}-way"
        draw_shots(panel, {name: line for name, line in points.items() if line}, metric, title, palette)
    draw_cost(axes[len(groups)], next(iter(groups.values())), palette)
    if curves:
        draw_training(axes[len(groups) + 1], dict(curves.values()), metric, palette)
    for blank in axes[panels:]:
        blank.set_axis_off()
    figure.savefig(path, dpi=150)


def middle(shots: int | tuple[int, int]) -> int | float:
    """Return the place of a number of shots on an axis, of a range its middle."""
    return shots if isinstance(shots, int) else sum(shots) / 2


def draw_shots(axes: Axes, lines: dict[str, Line], metric: str, title: str, palette: dict[str, str]) -> None:
    """Lines with their intervals, accuracies in per cent."""
    for label, points in lines.items():
        shots, means, intervals = zip(*sorted(points), strict=True)
        bars = [scale(metric) * (ci95 or 0) for ci95 in intervals]
        means = [scale(metric) * mean for mean in means]
        axes.errorbar(shots, means, bars, marker="o", capsize=3, label=label, color=palette[label])
    ticks = sorted({shots for points in lines.values() for shots, *_ in points})
    axes.set_xticks(ticks, map(str, ticks))
    finish(axes, title, "shots", metric)


def draw_cost(axes: Axes, rounds: list[Round], palette: dict[str, str]) -> None:
    """The score against the seconds to adapt, a point for each number of shots."""
    metric = rounds[0].metric
    for name, colour in palette.items():
        cells = [(shown(round.shots), round.scored[name]) for round in rounds if name in round.scored]
        seconds, means = [c.adapt_seconds for _, c in cells], [scale(metric) * c.mean for _, c in cells]
        axes.plot(seconds, means, marker="o", label=name, color=colour)
        for (shots, _), x, y in zip(cells, seconds, means, strict=True):
            axes.annotate(shots, (x, y), textcoords="offset points", xytext=(4, 4), fontsize=8)
    powers(axes)
    finish(axes, f"{rounds[0].source}, {rounds[0].size} to {rounds[-1].size}", "seconds to adapt to a task", metric)


def draw_training(axes: Axes, curves: dict[str, Curve], metric: str, palette: dict[str, str]) -> None:
    """The validation score against episodes of training, each run on its own validation episodes."""
    for name, points in curves.items():
        episodes, scores = zip(*points, strict=True)
        axes.plot(episodes, [scale(metric) * value for value in scores], label=name, color=palette[name])
    powers(axes)
    finish(axes, "meta-validation while training", "episodes (or flat batches) of training", metric)


def powers(axes: Axes) -> None:
    """A logarithmic x axis that is labelled at 1, 2, 5 of every power of ten."""
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def finish(axes: Axes, title: str, x: str, metric: str) -> None:
    axes.set(title=title, xlabel=x, ylabel="accuracy (%)" if metric == "accuracy" else "mean squared error")
    axes.grid(alpha=0.3)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8)


def colours(names: list[str]) -> dict[str, str]:
    return {name: f"C{i}" for i, name in enumerate(names)}


def scale(metric: str) -> int:
    return 100 if metric == "accuracy" else 1
