"""The result of an evaluation: a value that is printed, kept as JSON and returned to Python."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from lightning_meta.training.checkpoint import Origin
from lightning_meta.training.measurements import Measurement, Stage


@dataclass(frozen=True)
class Result(ABC):
    """The result of a meta-validation or a meta-test of one learner at one size of task.

    Attributes:
        stage: Meta-validation or meta-test, and what its scores are logged below.
        learner: Class of the learner.
        protocol: The tasks: their source, split, size, number and seed.
        checkpoint: What the checkpoint tells of its making.
        measurements: The scores under the configured protocol, points of curves among them.
    """

    stage: Stage
    learner: str
    protocol: dict[str, Any]
    checkpoint: Origin
    measurements: tuple[Measurement, ...]

    @property
    @abstractmethod
    def metric(self) -> str:
        """The metric that the learner is judged by."""

    @property
    def score(self) -> Measurement:
        """The measurement of the metric that the learner is judged by."""
        return next(one for one in self.measurements if one.metric == self.metric and one.quantity.curve is None)

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """Return the result as plain values for a JSON file."""

    @abstractmethod
    def text(self) -> str:
        """Return the result for the screen: the protocol, then one line per score."""

    def curve(self, name: str) -> list[Measurement]:
        """Return the points of a curve: `shots`, `steps`, `presentation`, `updates`, `episode` or `source`."""
        return [one for one in self.measurements if one.quantity.curve == name]


def scores(measurements: tuple[Measurement, ...]) -> dict[str, tuple[float, float | None]]:
    """Return mean and half-width of the 95 % interval by label, as JSON files hold them."""
    return {one.quantity.label: (one.mean, one.ci95) for one in measurements}


def scalars(measurements: tuple[Measurement, ...]) -> list[Measurement]:
    """Return the measurements that are not points of a curve."""
    return [one for one in measurements if one.quantity.curve is None]
