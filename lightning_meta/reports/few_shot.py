"""The result of an evaluation of a few-shot learner: scores under each protocol, curves, cost."""

from dataclasses import asdict, dataclass
from typing import Any

from lightning_meta.core import FewShotLearner
from lightning_meta.reports.results import Result, scalars, scores
from lightning_meta.reports.tables import is_elsewhere, protocol_line, rows, shown
from lightning_meta.training.evaluation import predictions
from lightning_meta.training.measurements import Measurement

COSTS = ("adapt_seconds", "query_seconds", "peak_memory")


@dataclass(frozen=True)
class Predictions:
    """The way in which queries are predicted, as measured.

    Attributes:
        protocol: `inductive` or `transductive`, or `not measured`.
        noisy: Whether predictions change from call to call.
        batch_statistics: What batch normalisation uses; None without any.
    """

    protocol: str
    noisy: bool
    batch_statistics: str | None

    @classmethod
    def of(cls, learner: FewShotLearner) -> "Predictions":
        """Return what was measured of a learner."""
        return cls(predictions(learner), learner.noisy, learner.batch_statistics())

    def to_json(self) -> dict[str, Any]:
        """Return the three values by the keys of JSON files."""
        return {"predictions": self.protocol, "noisy": self.noisy, "batch_statistics": self.batch_statistics}

    def text(self) -> str:
        """Return a description for the screen."""
        statistics = f", batch statistics {self.batch_statistics}" if self.batch_statistics else ""
        noise = ", which change from call to call" if self.noisy else ""
        return f"{self.protocol} predictions{noise}{statistics}"


@dataclass(frozen=True)
class OtherProtocol:
    """The scores of the same theta under the protocol that is not the configured one.

    Attributes:
        predictions: The way in which queries are predicted.
        measurements: The scores.
        adapt_seconds: Seconds to adapt to a task.
    """

    predictions: Predictions
    measurements: tuple[Measurement, ...]
    adapt_seconds: float

    def to_json(self) -> dict[str, Any]:
        """Return plain values for a JSON file."""
        return {
            **self.predictions.to_json(),
            "scores": scores(self.measurements),
            "adapt_seconds_a_task": self.adapt_seconds,
        }


@dataclass(frozen=True)
class Cost:
    """The cost of adapting and predicting.

    Attributes:
        adapt_seconds_a_task: Seconds to adapt to a task, when those of one size in a meta-batch adapt together.
        tasks_at_a_time: The number of these, their mean number if it varies; None if it is not known.
        query_seconds: Seconds to predict a query.
        peak_memory_bytes: The largest memory in use.
        peak_memory_of: Whose memory that is.
    """

    adapt_seconds_a_task: float
    tasks_at_a_time: int | float | None
    query_seconds: float
    peak_memory_bytes: float
    peak_memory_of: str

    def text(self) -> str:
        """Return a line for the screen."""
        return (
            f"cost: {self.adapt_seconds_a_task:.2e} s to adapt to a task ({shown(self.tasks_at_a_time)} at a time),"
            f" {self.query_seconds:.2e} s a query; peak memory {self.peak_memory_bytes / 2**20:,.0f} MiB"
            f" ({self.peak_memory_of})"
        )


@dataclass(frozen=True)
class FewShotResult(Result):
    """The result of a meta-validation or a meta-test of a few-shot learner.

    Attributes:
        predictions: The way in which queries are predicted under the configured protocol.
        other: The scores under the other protocol, if the learner has one.
        cost: Time and memory; None in a validation.
    """

    predictions: Predictions
    other: OtherProtocol | None = None
    cost: Cost | None = None

    @property
    def metric(self) -> str:
        return "mse" if any(one.metric == "mse" for one in self.measurements) else "accuracy"

    def to_json(self) -> dict[str, Any]:
        return {
            "stage": self.stage.name,
            "learner": self.learner,
            **self.predictions.to_json(),
            "protocol": self.protocol,
            "checkpoint": self.checkpoint._asdict(),
            "scores": scores(self.measurements),
            "other": self.other and self.other.to_json(),
            "cost": self.cost and asdict(self.cost),
        }

    def text(self) -> str:
        lines = [protocol_line(self.stage.name, self.protocol, self.metric, without=("classes_trained_on",))]
        trained_on, tested_on = self.checkpoint.trained_on, self.protocol.get("data")
        if is_elsewhere(trained_on, tested_on):
            lines.append(f"out of domain: trained on {trained_on}, tested on {tested_on}")
        if met := self.protocol.get("classes_trained_on"):
            lines.append(f"not held out: {met} classes of split {self.protocol['split']} were trained on")
        lines.append(f"{self.learner}, {self.predictions.text()}; mean +- 95 % confidence interval")
        lines += rows(scalars(self.measurements))
        if self.other:
            lines += [f"{self.learner}, {self.other.predictions.text()}", *rows(list(self.other.measurements))]
        titles = {
            "source": f"{self.metric} on each source; above, their mean",
            "shots": f"{self.metric} at each number of shots; above, their mean",
            "steps": f"{self.metric} after each number of inner steps",
            "presentation": "accuracy the first, second, ... time that a class is presented, before its label is seen",
        }
        for name, title in titles.items():
            if points := self.curve(name):
                lines += [title, *rows(points)]
        return "\n".join([*lines, *([self.cost.text()] if self.cost else [])])

    def protocols(self) -> list[tuple[Predictions, tuple[Measurement, ...], float]]:
        """Return predictions, scores and seconds to adapt under the configured protocol and the other, if there is one."""
        ways = [(self.predictions, self.measurements, self.cost.adapt_seconds_a_task if self.cost else float("nan"))]
        return ways + (
            [(self.other.predictions, self.other.measurements, self.other.adapt_seconds)] if self.other else []
        )
