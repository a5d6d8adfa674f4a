"""Results as values: what is measured, its mean over episodes, and the means of an evaluation under way."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lightning_meta.core import Episode
from lightning_meta.core.distributed import union_over_processes
from lightning_meta.training.evaluation import Measured
from lightning_meta.training.metrics import CalibrationError, EpisodeMean

LOGGED = {"adapt_seconds": "seconds/adapt", "query_seconds": "seconds/query", "peak_memory": "memory/peak"}


@dataclass(frozen=True)
class Stage:
    """Meta-validation or meta-test and, if several of them are logged side by side, the data and the size of their tasks.

    Attributes:
        name: `meta_val` or `meta_test`.
        data: Name of the data set, if the learner was trained on another one.
        size: Size of an episode, such as `5way_1shot`, if there are several.
    """

    name: str
    data: str | None = None
    size: str | None = None

    @property
    def tag(self) -> str:
        """The name that its scores are logged below."""
        return "/".join(filter(None, (self.name, self.data, self.size)))

    @property
    def file(self) -> str:
        """The first part of the names of its files, which does not hold the size."""
        return "_".join(filter(None, (self.name, self.data)))


VALIDATION = Stage("meta_val")


@dataclass(frozen=True)
class Quantity:
    """The quantity that a number measures.

    Attributes:
        stage: The stage in which it is measured.
        metric: `accuracy`, `mse`, `nll`, `ece`, `loss`, `return`, `total` or `error`; also `adapt_seconds`, `query_seconds`
            and `peak_memory`.
        protocol: `inductive` or `transductive` if it is measured under another protocol than the configured one.
        curve: What the points of a curve count, if it is one of them: `shots`, inner `steps`, `presentation` of a class,
            `updates` of a policy or `episode` of a trial; or `source`, the source of the episodes.
        point: The number of the point on the curve, or the name of the source.
    """

    stage: Stage
    metric: str
    protocol: str | None = None
    curve: str | None = None
    point: int | str | None = None

    @property
    def label(self) -> str:
        """Its name among the scores of its stage and protocol, as in a JSON file."""
        return LOGGED.get(self.metric, self.metric) if self.curve is None else f"{self.curve}/{self.point}"

    @property
    def tag(self) -> str:
        """The name that it is logged by."""
        return "/".join(filter(None, (self.stage.tag, self.protocol, self.label)))


@dataclass(frozen=True)
class Measurement:
    """A quantity as it was measured.

    Attributes:
        quantity: What was measured.
        mean: The mean over episodes.
        ci95: Half-width of its 95 % confidence interval; None for a single episode and for what has no interval.
        episodes: The number of episodes; of what is timed, of meta-batches, or of their parts of one size. None for what is
            not a mean over episodes.
    """

    quantity: Quantity
    mean: float
    ci95: float | None = None
    episodes: int | None = None

    @property
    def metric(self) -> str:
        """The metric of the quantity."""
        return self.quantity.metric

    @property
    def is_share(self) -> bool:
        """Return whether it lies in 0..1 and is shown in per cent."""
        return self.metric in ("accuracy", "ece")


class Summary:
    """Means over episodes, of an evaluation under way."""

    def __init__(self) -> None:
        self.means: dict[Quantity, EpisodeMean] = {}
        self.calibration: dict[Quantity, CalibrationError] = {}

    def add(self, quantity: Quantity, scores: Tensor, source: int = 0) -> None:
        """Take in the scores [tasks] of a meta-batch of a source, by its number; the mean is that over sources."""
        self.means.setdefault(quantity, EpisodeMean().to(scores.device)).update(scores, source)

    def add_measured(self, of: Quantity, episode: Episode, measured: Measured, source: int = 0) -> None:
        """Take in the score `of` an episode; of class numbers, nll and ece too; and the seconds to adapt and to predict."""
        y = episode.query.y
        self.add(of, measured.score, source)
        if of.metric == "accuracy":
            self.add(replace(of, metric="nll"), measured.loss, source)
            ece = self.calibration.setdefault(replace(of, metric="ece"), CalibrationError().to(y.device))
            ece.update(measured.prediction, y)
        for metric in ("adapt_seconds", "query_seconds"):  # the tasks of one size in a meta-batch are timed as one
            self.add(replace(of, metric=metric), measured.score.new_full((1,), getattr(measured, metric)), source)

    def compute(self) -> list[Measurement]:
        """Return what was measured, over all processes. The ece, one number of all queries, has no interval."""
        measured = []
        for quantity in union_over_processes(self.means):
            if quantity not in self.means:  # only other processes have tasks of such a size
                self.add(quantity, next(iter(self.means.values())).scores[0][:0])
            mean, ci95, episodes = self.means[quantity].compute()
            measured.append(Measurement(quantity, float(mean), known(ci95), int(episodes)))
        return measured + [
            Measurement(quantity, float(error.compute())) for quantity, error in self.calibration.items()
        ]


def known(ci95: Tensor) -> float | None:
    """Return the half-width of an interval, None if a single episode does not tell it."""
    return None if torch.isnan(ci95) else float(ci95)
