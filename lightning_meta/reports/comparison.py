"""A comparison as a value: scores on the same episodes, paired differences; its tables, JSON and files."""

import math
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch

from lightning_meta.reports.tables import is_elsewhere, number, shown
from lightning_meta.training.measurements import known
from lightning_meta.training.metrics import EpisodeMean

Curve = list[tuple[int, float]]  # meta-training steps, or episodes, and the mean validation score after them


@dataclass(frozen=True)
class Difference:
    """The mean difference to another learner, episode by episode.

    Attributes:
        to: Name of the other learner.
        mean: The mean over episodes.
        ci95: Half-width of its 95 % confidence interval; None for a single episode.
    """

    to: str
    mean: float
    ci95: float | None


@dataclass(frozen=True)
class Score:
    """The score of a learner on one set at one size.

    Attributes:
        mean: The mean over episodes, accuracy or mean squared error.
        ci95: Half-width of its 95 % confidence interval; None for a single episode.
        nll: Negative log-likelihood of a query in nats; None in regression.
        ece: Expected calibration error; None in regression.
        adapt_seconds: Seconds to adapt to a task.
        query_seconds: Seconds to predict a query.
        scores: The score of every episode.
        classes_trained_on: The number of tested classes that the learner was trained on.
        difference: The paired difference to another learner.
    """

    mean: float
    ci95: float | None
    nll: float | None
    ece: float | None
    adapt_seconds: float
    query_seconds: float
    scores: tuple[float, ...]
    classes_trained_on: int | None = None
    difference: Difference | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain values; what is not known is left out, except for the interval."""
        return {name: value for name, value in asdict(self).items() if value is not None or name == "ci95"}


@dataclass(frozen=True)
class Refusal:
    """The reason why a learner cannot do the tasks of one set at one size."""

    reason: str

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


@dataclass(frozen=True)
class Round:
    """One set at one size.

    Attributes:
        source: The set.
        ways: Classes of a task, a number or a range.
        shots: Support examples per class, a number or a range.
        metric: `accuracy` or `mse`.
        cells: What each learner reached, or why it could not take part.
    """

    source: str
    ways: int | tuple[int, int]
    shots: int | tuple[int, int]
    metric: str
    cells: dict[str, Score | Refusal]

    @property
    def size(self) -> str:
        """The size of a task in words."""
        return (
            f"{shown(self.shots)}-shot" if self.metric == "mse" else f"{shown(self.ways)}-way {shown(self.shots)}-shot"
        )

    @property
    def scored(self) -> dict[str, Score]:
        """The scores of the learners that took part."""
        return {name: cell for name, cell in self.cells.items() if isinstance(cell, Score)}

    def compare_paired(self, against: str | None) -> "Round":
        """Return the round with each learner's mean difference, episode by episode, to the learner `against`, or to the
        best of the round. A learner that diverged has none."""
        scored = {name: score for name, score in self.scored.items() if math.isfinite(score.mean)}
        if not scored or (against and against not in scored):
            return self
        better = max if self.metric == "accuracy" else min
        reference = against or better(scored, key=lambda name: scored[name].mean)
        base, cells = torch.tensor(scored[reference].scores), dict(self.cells)
        for name, score in scored.items():
            if name != reference:
                metric = EpisodeMean()
                metric.update(torch.tensor(score.scores) - base)
                mean, ci95, _ = metric.compute()
                cells[name] = replace(score, difference=Difference(reference, float(mean), known(ci95)))
        return replace(self, cells=cells)


@dataclass(frozen=True)
class Facts:
    """Facts about a learner that takes part. Anything that its checkpoint does not record is None.

    Attributes:
        learner: Its name in the comparison.
        checkpoint: Its file; None for a learner that was given as an object.
        class_name: Its class.
        predictions: `inductive` or `transductive`.
        noisy: Whether its predictions change from call to call.
        batch_statistics: What batch normalisation uses; None without any.
        backbone: Class and arguments of the backbone, as configured.
        parameters: The number of its parameters.
        trained_on: The data that it was trained on.
        episodes: Episodes of its meta-training; of pretraining, flat batches.
        flat_batch: Examples of a flat batch; 0 for episodes.
        cpu_minutes: Processor time of its training.
        validation: Validation scores by the number of training episodes; empty if its run has none.
    """

    learner: str
    checkpoint: str | None
    class_name: str
    predictions: str
    noisy: bool
    batch_statistics: str | None
    backbone: str
    parameters: int
    trained_on: str | None
    episodes: int | None
    flat_batch: int
    cpu_minutes: float | None
    validation: Curve = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return plain values by the keys of JSON files."""
        return {"class" if name == "class_name" else name: value for name, value in asdict(self).items()}


@dataclass(frozen=True)
class Protocol:
    """The episodes of a comparison, the same for all learners.

    Attributes:
        split: Split of the sets.
        queries: Queries per class.
        episodes: Episodes of each set and size.
        seed: Seed of the episodes.
        tasks_at_a_time: Tasks that are adapted to, and timed, at a time.
        device: Device that this ran on.
        against: Name of the learner that differences are to; None for the best of each round.
        sampler: Sampler of the episodes; None for that of the data.
    """

    split: str
    queries: int | tuple[int, int]
    episodes: int
    seed: int
    tasks_at_a_time: int
    device: str
    against: str | None = None
    sampler: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain values by the keys of JSON files."""
        own = {name: value for name, value in asdict(self).items() if name != "against"}
        return {name: value for name, value in own.items() if name != "sampler" or value}


@dataclass(frozen=True)
class Comparison:
    """Several learners on the same frozen episodes.

    Attributes:
        protocol: The episodes.
        learners: The learners; one that can be judged as inductive and as transductive is there under both names.
        rounds: One per set and size.
    """

    protocol: Protocol
    learners: tuple[Facts, ...]
    rounds: tuple[Round, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain values: the score of every episode among them."""
        results = [
            {
                "set": one.source,
                "ways": one.ways,
                "shots": one.shots,
                "score": one.metric,
                "learner": name,
                **cell.to_json(),
            }
            for one in self.rounds
            for name, cell in one.cells.items()
        ]
        return {
            "protocol": self.protocol.to_json(),
            "learners": [one.to_json() for one in self.learners],
            "results": results,
        }


def standing(trained_on: str | None, source: str, cell: Score | Refusal) -> str:
    """Return remarks if a set is not the one that a learner was trained on, or if its classes are not all held out."""
    where = ["out of domain"] if is_elsewhere(trained_on, source) else []
    met = cell.classes_trained_on if isinstance(cell, Score) else None
    return ", ".join(where + ([f"{met} classes trained on"] if met else []))


def spread(mean: float, ci95: float | None, percent: bool) -> str:
    """Mean and interval; accuracies in per cent, without the sign for it."""
    both = [mean] if ci95 is None else [mean, ci95]
    return " +- ".join(f"{100 * value:.2f}" if percent else number(value, percent=False) for value in both)
