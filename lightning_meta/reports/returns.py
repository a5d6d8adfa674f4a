"""The result of an evaluation of an agent: its returns."""

from dataclasses import dataclass
from typing import Any

from lightning_meta.reports.results import Result, scalars, scores
from lightning_meta.reports.tables import is_elsewhere, protocol_line, rows
from lightning_meta.training.hparams import flat

MEANING = {
    "return": "the return of its adapted policy",
    "total": "all returns of a trial",
}
POINTS = {
    "updates": "return after each number of policy updates",
    "episode": "return in each episode of a trial",
}


@dataclass(frozen=True)
class ReturnsResult(Result):
    """The result of a meta-validation or a meta-test of an agent. The protocol tells its budget and the world.

    Attributes:
        judged_by: `return` of the adapted policy, or `total` of a trial.
    """

    judged_by: str

    @property
    def metric(self) -> str:
        return self.judged_by

    @property
    def unlike_training(self) -> dict[str, tuple[Any, Any]]:
        """Settings of the world in which training and test differ, with both values; empty if one is not known."""
        return elsewhere(self.checkpoint.world, self.protocol.get("world"))

    def to_json(self) -> dict[str, Any]:
        return {
            "stage": self.stage.name,
            "learner": self.learner,
            "judged_by": self.judged_by,
            "protocol": self.protocol,
            "checkpoint": self.checkpoint._asdict(),
            "unlike_training": self.unlike_training,
            "scores": scores(self.measurements),
        }

    def text(self) -> str:
        world = ", ".join(f"{name} {value}" for name, value in flat(self.protocol.get("world")).items() if name)
        lines = [protocol_line(self.stage.name, self.protocol, "return", without=("world",))]
        lines += [f"world: {world}"] if world else []
        trained, tested = self.checkpoint.trained_on, self.protocol.get("data")
        if is_elsewhere(trained, tested):
            lines.append(f"out of domain: trained in {trained}, tested in {tested}")
        elif self.unlike_training:
            differ = [f"at {name} {one}, tested at {other}" for name, (one, other) in self.unlike_training.items()]
            lines.append(f"out of domain: trained {'; '.join(differ)}")
        lines.append(f"{self.learner}, judged by {MEANING[self.judged_by]}; mean over tasks +- 95 % interval")
        lines += rows(scalars(self.measurements))
        for unit, title in POINTS.items():
            if points := self.curve(unit):
                lines += [title, *rows(points)]
        return "\n".join(lines)


def elsewhere(trained: dict[str, Any] | None, tested: dict[str, Any] | None) -> dict[str, tuple[Any, Any]]:
    """Settings of the world that training and test differ in, with both values; empty where one of them is not known."""
    if not (trained and tested):
        return {}
    one, other = flat(trained), flat(tested)
    names = dict.fromkeys([*one, *other])
    return {name: (one.get(name), other.get(name)) for name in names if one.get(name) != other.get(name)}
