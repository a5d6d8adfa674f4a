"""The tables of a comparison in Markdown."""

import math
from typing import Any

from lightning_meta.reports.comparison import Comparison, Facts, Refusal, Round, Score, spread, standing
from lightning_meta.reports.tables import shown


def markdown(comparison: Comparison) -> str:
    """Tables in Markdown: the learners, their scores on each set, the seconds to adapt, and the reasons of empty cells."""
    protocol, rounds, against = comparison.protocol, comparison.rounds, comparison.protocol.against
    heads = ["learner", "backbone", "predictions", "batch statistics", "parameters", "trained on"]
    blocks = [table([*heads, "episodes", "CPU minutes"], [row_of_facts(one) for one in comparison.learners])]
    blocks.append(
        f"Mean +- 95 % confidence interval over {protocol.episodes} episodes of split {protocol.split} (seed"
        f" {protocol.seed}, {shown(protocol.queries)} queries{f', {protocol.sampler}' if protocol.sampler else ''}), the same"
        f" for all. In brackets the paired difference to"
        f" {against or 'the best of the column'}."
    )
    for source in dict.fromkeys(round.source for round in rounds):
        of_set = [round for round in rounds if round.source == source]
        names, sizes = [one.learner for one in comparison.learners], [round.size for round in of_set]
        domain = [standing(one.trained_on, source, of_set[0].cells[one.learner]) for one in comparison.learners]
        lines = [
            [name, where, *(cell_text(round, name, against) for round in of_set)]
            for name, where in zip(names, domain, strict=True)
        ]
        blocks.append(f"{source}, {'accuracy' if of_set[0].metric == 'accuracy' else 'mean squared error'}")
        blocks.append(table(["learner", "", *sizes], lines))
        most = "at most " if protocol.sampler else ""  # its tasks may differ in size
        seconds = [[name, *(seconds_text(round.cells[name]) for round in of_set)] for name in names]
        blocks.append(
            f"{source}, seconds to adapt to a task ({most}{protocol.tasks_at_a_time} at a time, {protocol.device})"
        )
        blocks.append(table(["learner", *sizes], seconds))
    return "\n\n".join([*blocks, *filter(None, [reasons(rounds)])]) + "\n"


def row_of_facts(one: Facts) -> list[str]:
    """Return the facts about a learner, by column."""
    cells = (one.learner, one.backbone, one.predictions, one.batch_statistics, one.parameters, one.trained_on)
    batches = f" batches of {one.flat_batch}" if one.flat_batch else ""
    return [*map(plain, cells), plain(one.episodes) + batches, plain(one.cpu_minutes)]


def reasons(rounds: tuple[Round, ...]) -> str:
    """A line for each reason of an empty cell: who and where."""
    empty: dict[str, tuple[dict[str, None], dict[str, None]]] = {}
    for round in rounds:
        for name, cell in round.cells.items():
            if isinstance(cell, Refusal):
                names, places = empty.setdefault(cell.reason, ({}, {}))
                names[name] = places[f"{round.source} {round.size}"] = None
    return "\n".join(f"- {', '.join(names)} on {', '.join(places)}: {why}" for why, (names, places) in empty.items())


def cell_text(round: Round, name: str, against: str | None) -> str:
    cell, percent = round.cells[name], round.metric == "accuracy"
    if isinstance(cell, Refusal):
        return "-"
    text = spread(cell.mean, cell.ci95, percent)
    if difference := cell.difference:
        sign = "+" if difference.mean > 0 else ""
        return f"{text} ({sign}{spread(difference.mean, difference.ci95, percent)})"
    return text if against or not math.isfinite(cell.mean) else f"{text} (best)"


def seconds_text(cell: Score | Refusal) -> str:
    return "-" if isinstance(cell, Refusal) else f"{cell.adapt_seconds:.2e}"


def plain(value: Any) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    return "-" if value is None else str(value)


def table(head: list[str], lines: list[list[str]]) -> str:
    """A table of Markdown, its columns aligned."""
    widths = [max(3, *map(len, column)) for column in zip(head, *lines, strict=True)]
    rows = [head, ["-" * width for width in widths], *lines]
    return "\n".join(f"| {' | '.join(c.ljust(w) for c, w in zip(row, widths, strict=True))} |" for row in rows)
