"""Report a search: one row per trial, and the winner."""

import shutil
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from lightning_meta.search.space import Dimension, short_names


class Row(NamedTuple):
    """A trial. The score is that of its best validation, accuracy, mse or what an agent is judged by, with the half-width
    of its 95 % interval."""

    trial: str
    values: dict[str, Any]  # at its best validation
    epochs: int  # trained in all
    seconds: float | None
    objective: float | None  # the mean of several
    objectives: list[float]  # each of them; of a trial without a validation, none
    score: float | None
    ci95: float | None
    epoch: int | None
    checkpoint: str | None
    status: str
    front: bool = False  # no other trial is as good in all objectives and better in one


def rows(
    history: list[dict[str, Any]], objectives: list[str], errors: dict[str, str | None], trainer: dict[str, Any]
) -> list[Row]:
    """A row for each trial, the best first. `errors`: all trials, and why Ray gave one up; `trainer`: its arguments, which
    tell how long a whole trial is."""
    found = []
    for trial, error in errors.items():
        reports = [line for line in history if line["trial"] == trial]
        sound = [line for line in reports if not line["failed"] and line["checkpoint"]]
        # the last of equals: that is whose checkpoint Ray keeps
        best = min(reversed(sound), key=lambda line: objective(line, objectives), default=None)
        failed = error or (reports[-1]["failed"] if reports else "reported nothing")
        metrics, score = (best["metrics"], best["score"]) if best else ({}, {})
        found.append(
            Row(
                trial,
                (best or (reports[-1] if reports else {"values": {}}))["values"],
                max((line["epoch"] or 0 for line in reports), default=0),
                reports[-1]["seconds"] - reports[0]["seconds"] if len(reports) > 1 else None,
                objective(best, objectives) if best else None,
                [metrics[name] for name in objectives] if best else [],
                score.get("mean"),
                score.get("ci95"),
                best["epoch"] if best else None,
                best["checkpoint"] if best else None,
                f"failed: {failed}" if failed else "done" if whole(reports[-1], trainer) else "stopped",
            )
        )
    found.sort(key=lambda row: float("inf") if row.objective is None else row.objective)
    return [row._replace(front=not any(dominates(other, row) for other in found)) for row in found]


def whole(line: dict[str, Any], trainer: dict[str, Any]) -> bool:
    """Return whether a trial reached the last validation of its trainer, according to its last report."""
    epochs, every, steps = (trainer.get(key) or -1 for key in ("max_epochs", "check_val_every_n_epoch", "max_steps"))
    last = epochs - epochs % max(every, 1) if epochs > 0 else float("inf")
    return (line["epoch"] or 0) >= last or 0 < steps <= (line["step"] or 0)


def dominates(one: Row, other: Row) -> bool:
    """Return whether a trial is at least as good as another in all objectives and better in one. Without values it is worst."""
    if not (one.objectives and other.objectives):
        return bool(one.objectives) or not other.objectives
    pairs = list(zip(one.objectives, other.objectives, strict=True))
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)


def objective(line: dict[str, Any], objectives: list[str]) -> float:
    """Of several objectives the mean."""
    return sum(line["metrics"][name] for name in objectives) / len(objectives)


def table(found: list[Row], space: list[Dimension], kind: str, objectives: list[str]) -> list[list[str]]:
    """Cells, the first line the heads. Several objectives have columns of their own, and a star marks the Pareto front."""
    names = short_names([one.key for one in space])
    several = len(objectives) > 1
    heads = [*map(plain, objectives), "front"] if several else []
    lines = [["trial", *names.values(), kind, *heads, "at epoch", "epochs", "ended"]]
    for row in found:
        score = "" if row.score is None else with_interval(row.score, row.ci95, kind)
        values = [brief(row.values.get(key, "-")) for key in names]
        each = [f"{value:.4f}" for value in row.objectives] or [""] * len(objectives)
        judged = [*each, "*" * row.front] if several else []
        lines.append([row.trial, *values, score, *judged, brief(row.epoch or ""), str(row.epochs), row.status])
    return lines


def plain(name: str) -> str:
    return name.removeprefix("meta_val/")


def choice(found: list[Row], objectives: list[str]) -> str:
    """Of how many trials the first is the best, and in what."""
    said = f"{found[0].trial} is the best of {len(found)} trials"
    if len(objectives) == 1:
        return said
    front = [row.trial for row in found if row.front]
    return f"{said} by the mean of {' and '.join(map(plain, objectives))}; on the Pareto front: {', '.join(front)}"


def with_interval(score: float, ci95: float | None, kind: str) -> str:
    """An accuracy in per cent, anything else as it is, with its interval."""
    scale, unit, digits = (100, " %", 2) if kind == "accuracy" else (1, "", 4)
    interval = "" if ci95 is None else f" +- {scale * ci95:.{digits}f}"
    return f"{scale * score:.{digits}f}{interval}{unit}"


def brief(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def in_a_line(said: str) -> str:
    """Return the reason that a worker died, of all that Ray says: that it was killed for memory, else the last line."""
    lines = [line.strip() for line in said.splitlines() if line.strip()] or ["no reason is known"]
    return next((line for line in lines if "low on memory" in line), lines[-1])


def markdown(lines: list[list[str]]) -> str:
    head, *rest = ("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
    return "\n".join([head, "|" + "---|" * len(lines[0]), *rest])


def write_best(path: Path, config: dict[str, Any], found: list[Row], objectives: list[str]) -> None:
    """The winner's configuration, as `fit --config` takes it."""
    row = found[0]
    head = f"# {choice(found, objectives)}.\n# At epoch {row.epoch}, meta-validation error {row.objective:.4f}. (A population"
    head += " changes values while it trains; these are those of that epoch.)\n"
    path.write_text(head + yaml.safe_dump(config, sort_keys=False))


def prune(folder: Path, found: list[Row]) -> None:
    """Delete the checkpoints that nothing refers to any more: all but each trial's best and last."""
    for row in found:
        checkpoints = sorted((folder / row.trial).glob("checkpoint_*"))
        for path in checkpoints[:-1]:
            if path.name != row.checkpoint:
                shutil.rmtree(path, ignore_errors=True)
