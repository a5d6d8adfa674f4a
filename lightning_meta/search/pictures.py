"""A search as a picture."""

from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from lightning_meta.search.report import Row, plain
from lightning_meta.search.space import Dimension, short_names


def picture(
    history: list[dict[str, Any]], space: list[Dimension], found: list[Row], objectives: list[str], path: Path
) -> None:
    """Above, the score of each trial over time and, of several objectives, the first two against each other; below, for each
    key the path of its value in every trial, and the score against the value. The winner, first of `found`, is bold."""
    winner = found[0].trial
    lines = [line for line in history if not line["failed"]]
    kind: str = lines[0]["score"]["metric"]
    trials = list(dict.fromkeys(line["trial"] for line in lines))
    names = short_names([one.key for one in space])
    figure = Figure(figsize=(max(4 * len(space), 6), 9), layout="constrained")
    grid = figure.add_gridspec(3, len(space))
    if len(objectives) == 1:
        over_time = figure.add_subplot(grid[0, :])
    else:
        above = grid[0, :].subgridspec(1, 2)
        over_time = figure.add_subplot(above[0])
        front(figure.add_subplot(above[1]), found, objectives, trials)
    paths = [figure.add_subplot(grid[1, i]) for i in range(len(space))]
    against = [figure.add_subplot(grid[2, i]) for i in range(len(space))]
    for i, trial in enumerate(trials):
        own = [line for line in lines if line["trial"] == trial]
        scores = [score(line, kind) for line in own]
        style = {"color": f"C{i % 10}", "linewidth": 3 if trial == winner else 1}
        over_time.plot([line["seconds"] for line in own], scores, marker=".", **style)
        for axes, other, one in zip(paths, against, space, strict=True):
            having = [line for line in own if one.key in line["values"]]
            values = [place(one, line["values"][one.key]) for line in having]
            axes.plot([line["epoch"] for line in having], values, drawstyle="steps-post", marker=".", **style)
            there = [score(line, kind) for line in having]
            other.scatter(values, there, color=style["color"], s=36 if trial == winner else 9)
    label: str = {"accuracy": "accuracy (%)", "mse": "mean squared error"}.get(kind, kind)
    finish(over_time, f"meta-validation, {len(trials)} trials, {winner} bold", "seconds of search", label)
    if kind == "mse":
        over_time.set_yscale("log")
    for axes, other, one in zip(paths, against, space, strict=True):
        finish(axes, "values while training", "epoch", names[one.key])
        finish(other, "score at each value", names[one.key], label)
        scale(one, axes.set_yscale, axes.set_yticks, axes.yaxis)
        scale(one, other.set_xscale, other.set_xticks, other.xaxis)
        if kind == "mse":
            other.set_yscale("log")
    figure.savefig(path, dpi=150)


def front(axes: Axes, found: list[Row], objectives: list[str], trials: list[str]) -> None:
    """Each trial at its best validation by the first two objectives; those of the Pareto front are ringed."""
    for row in (row for row in found if row.objectives):
        x, y = row.objectives[:2]
        axes.scatter(x, y, color=f"C{trials.index(row.trial) % 10}", s=36 if row is found[0] else 9)
        if row.front:
            axes.scatter(x, y, s=120, facecolors="none", edgecolors="black")
    finish(axes, "objectives, Pareto front ringed", *map(plain, objectives[:2]))


def score(line: dict[str, Any], kind: str) -> float:
    return line["score"]["mean"] * (100 if kind == "accuracy" else 1)


def place(one: Dimension, value: Any) -> float:
    """Return the coordinate of a value: numbers as they are, other choices by their index in the list."""
    return float(value) if is_number(one) else float(one.values.index(value))


def is_number(one: Dimension) -> bool:
    return all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in one.values)


def scale(one: Dimension, set_scale: Any, set_ticks: Any, axis: Axis) -> None:
    if one.is_log:
        set_scale("log")
        axis.set_major_locator(LogLocator(subs=(1, 3)))
        axis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
        axis.set_minor_formatter(NullFormatter())
    elif not one.is_range:
        places = [place(one, value) for value in one.values]
        set_ticks(places, [str(value) for value in one.values])


def finish(axes: Axes, title: str, x: str, y: str) -> None:
    axes.set(title=title, xlabel=x, ylabel=y)
    axes.grid(alpha=0.3)
