"""What an evaluation of an agent found: its returns."""

from typing import Any

from lightning_meta.cli.tables import Scores, is_elsewhere, protocol_line, rows
from lightning_meta.core import MetaRLLearner

MEANING = {
    "return": "the return of its adapted policy",
    "total": "all returns of a trial",
}
POINTS = {
    "updates": "return after so many updates of the policy",
    "episode": "return in each episode of a trial",
}


def returns(
    stage: str, agent: MetaRLLearner, protocol: dict[str, Any], checkpoint: dict[str, Any], groups: dict[str, Scores]
) -> dict[str, Any]:
    """Ready for JSON."""
    return {
        "stage": stage,
        "learner": type(agent).__name__,
        "judged_by": "total" if agent.total else "return",
        "protocol": protocol,
        "checkpoint": checkpoint,
        "scores": groups["scores"],
    }


def text(found: dict[str, Any]) -> str:
    """For the screen: the protocol, then a line a return."""
    lines = [protocol_line(found, "return")]
    trained, tested = found["checkpoint"]["trained_on"], found["protocol"].get("data")
    if is_elsewhere(trained, tested):
        lines.append(f"out of domain: trained in {trained}, tested in {tested}")
    lines.append(f"{found['learner']}, judged by {MEANING[found['judged_by']]}; mean over tasks +- 95 % interval")
    groups: dict[str, Scores] = {}
    for name, value in found["scores"].items():
        group, _, label = name.rpartition("/")
        groups.setdefault(group, {})[label] = value
    lines += rows(groups.pop(""), "return")
    for unit, points in groups.items():
        lines += [POINTS[unit], *rows(points, "return", f"{unit} ")]
    return "\n".join(lines)
