"""Scores on the same episodes, side by side: paired differences, and the tables."""

import math
from typing import Any, NamedTuple

import torch

from lightning_meta.reports.tables import is_elsewhere, number
from lightning_meta.training.metrics import EpisodeMean

Cell = dict[str, Any]  # what one learner reached on one set at one size, or the reason why it could not


class Round(NamedTuple):
    """One set at one size, and a cell for each learner."""

    source: str
    ways: int
    shots: int
    kind: str  # accuracy or mse
    cells: dict[str, Cell]

    @property
    def size(self) -> str:
        return f"{self.shots}-shot" if self.kind == "mse" else f"{self.ways}-way {self.shots}-shot"


def compare_paired(round: Round, against: str | None) -> None:
    """Add to each cell its mean difference, episode by episode, to the learner `against`, or to the best of the round.
    A learner that diverged has none."""
    scored = {name: cell for name, cell in round.cells.items() if "scores" in cell and math.isfinite(cell["mean"])}
    if not scored or (against and against not in scored):
        return
    better = max if round.kind == "accuracy" else min
    reference = against or better(scored, key=lambda name: scored[name]["mean"])
    base = torch.tensor(scored[reference]["scores"])
    for name, cell in scored.items():
        if name != reference:
            metric = EpisodeMean()
            metric.update(torch.tensor(cell["scores"]) - base)
            mean, ci95 = metric.compute()
            cell["difference"] = {"to": reference, "mean": float(mean), "ci95": known(ci95)}


def known(ci95: torch.Tensor) -> float | None:
    """The half-width of an interval; None where a single episode tells nothing of it."""
    return None if ci95.isnan() else float(ci95)


def markdown(protocol: dict[str, Any], facts: list[dict[str, Any]], rounds: list[Round], against: str | None) -> str:
    """Who takes part, the scores on each set, the seconds to adapt, and why a cell is empty."""
    columns = ("learner", "backbone", "predictions", "batch_statistics", "parameters", "trained_on")
    titles = [column.replace("_", " ") for column in columns]
    lines = [[*(plain(one[column]) for column in columns), training(one), plain(one["cpu_minutes"])] for one in facts]
    blocks = [table([*titles, "episodes", "CPU minutes"], lines)]
    blocks.append(
        f"Mean +- 95 % confidence interval over {protocol['episodes']} episodes of split {protocol['split']} (seed"
        f" {protocol['seed']}, {protocol['queries']} queries), the same for all. In brackets the paired difference to"
        f" {against or 'the best of the column'}."
    )
    for source in dict.fromkeys(round.source for round in rounds):
        of_set = [round for round in rounds if round.source == source]
        names, sizes = [one["learner"] for one in facts], [round.size for round in of_set]
        domain = [standing(one["trained_on"], source, of_set[0].cells[one["learner"]]) for one in facts]
        lines = [
            [name, where, *(cell_text(round, name, against) for round in of_set)]
            for name, where in zip(names, domain, strict=True)
        ]
        blocks.append(f"{source}, {'accuracy' if of_set[0].kind == 'accuracy' else 'mean squared error'}")
        blocks.append(table(["learner", "", *sizes], lines))
        seconds = [[name, *(seconds_text(round.cells[name]) for round in of_set)] for name in names]
        blocks.append(
            f"{source}, seconds to adapt to a task ({protocol['tasks_at_a_time']} at a time, {protocol['device']})"
        )
        blocks.append(table(["learner", *sizes], seconds))
    return "\n\n".join([*blocks, *filter(None, [reasons(rounds)])]) + "\n"


def standing(trained_on: str | None, source: str, cell: Cell) -> str:
    """Whether a set is another one than a learner was trained on, and whether its classes are not all held out."""
    elsewhere = ["out of domain"] if is_elsewhere(trained_on, source) else []
    met = cell.get("classes_trained_on")
    return ", ".join(elsewhere + ([f"{met} classes trained on"] if met else []))


def reasons(rounds: list[Round]) -> str:
    """A line for each reason of an empty cell: who and where."""
    empty: dict[str, tuple[dict[str, None], dict[str, None]]] = {}
    for round in rounds:
        for name, cell in round.cells.items():
            if "reason" in cell:
                names, places = empty.setdefault(cell["reason"], ({}, {}))
                names[name] = places[f"{round.source} {round.size}"] = None
    return "\n".join(f"- {', '.join(names)} on {', '.join(places)}: {why}" for why, (names, places) in empty.items())


def cell_text(round: Round, name: str, against: str | None) -> str:
    cell, percent = round.cells[name], round.kind == "accuracy"
    if "reason" in cell:
        return "-"
    text = spread(cell["mean"], cell["ci95"], percent)
    if difference := cell.get("difference"):
        sign = "+" if difference["mean"] > 0 else ""
        return f"{text} ({sign}{spread(difference['mean'], difference['ci95'], percent)})"
    return text if against or not math.isfinite(cell["mean"]) else f"{text} (best)"


def spread(mean: float, ci95: float | None, percent: bool) -> str:
    """Mean and interval; accuracies in per cent, without the sign for it."""
    both = [mean] if ci95 is None else [mean, ci95]
    return " +- ".join(f"{100 * value:.2f}" if percent else number(value, percent=False) for value in both)


def seconds_text(cell: Cell) -> str:
    return "-" if "reason" in cell else f"{cell['adapt_seconds']:.2e}"


def training(fact: dict[str, Any]) -> str:
    """How many episodes a learner was trained on, or flat batches."""
    return plain(fact["episodes"]) + (f" batches of {fact['flat_batch']}" if fact["flat_batch"] else "")


def plain(value: Any) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    return "-" if value is None else str(value)


def table(head: list[str], lines: list[list[str]]) -> str:
    """A table of Markdown, its columns aligned."""
    widths = [max(3, *map(len, column)) for column in zip(head, *lines, strict=True)]
    rows = [head, ["-" * width for width in widths], *lines]
    return "\n".join(f"| {' | '.join(c.ljust(w) for c, w in zip(row, widths, strict=True))} |" for row in rows)
