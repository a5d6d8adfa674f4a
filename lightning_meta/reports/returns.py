"""What an evaluation of an agent found: its returns."""

from typing import Any

from lightning_meta.core import MetaRLLearner
from lightning_meta.reports.tables import Scores, is_elsewhere, protocol_line, rows

MEANING = {
    "return": "the return of its adapted policy",
    "total": "all returns of a trial",
}
POINTS = {
    "updates": "return after each number of policy updates",
    "episode": "return in each episode of a trial",
}


def returns(
    stage: str, agent: MetaRLLearner, protocol: dict[str, Any], checkpoint: dict[str, Any], groups: dict[str, Scores]
) -> dict[str, Any]:
    """Ready for JSON. The protocol says how much of a task the agent lived through, and in what world."""
    updates, envs, episodes = agent.evaluation_budget()
    actions = "the likeliest" if agent.greedy else "drawn"
    protocol = {**protocol, "updates": updates, "envs": envs, "episodes": episodes, "actions": actions}
    return {
        "stage": stage,
        "learner": type(agent).__name__,
        "judged_by": agent.score,
        "protocol": protocol,
        "checkpoint": checkpoint,
        "unlike_training": elsewhere(checkpoint.get("world"), protocol.get("world")),
        "scores": groups["scores"],
    }


def elsewhere(trained: dict[str, Any] | None, tested: dict[str, Any] | None) -> dict[str, tuple[Any, Any]]:
    """Settings of the world that training and test differ in, with both values; empty where one of them is not known."""
    if not (trained and tested):
        return {}
    one, other = flat(trained), flat(tested)
    names = dict.fromkeys([*one, *other])
    return {name: (one.get(name), other.get(name)) for name in names if one.get(name) != other.get(name)}


def text(found: dict[str, Any]) -> str:
    """For the screen: the protocol, then a line a return."""
    world = ", ".join(f"{name} {value}" for name, value in flat(found["protocol"].get("world")).items() if name)
    lines = [protocol_line(found, "return", without=("world",)), *([f"world: {world}"] if world else [])]
    trained, tested = found["checkpoint"]["trained_on"], found["protocol"].get("data")
    if is_elsewhere(trained, tested):
        lines.append(f"out of domain: trained in {trained}, tested in {tested}")
    else:
        differ = [f"at {name} {one}, tested at {other}" for name, (one, other) in found["unlike_training"].items()]
        lines += [f"out of domain: trained {'; '.join(differ)}"] if differ else []
    lines.append(f"{found['learner']}, judged by {MEANING[found['judged_by']]}; mean over tasks +- 95 % interval")
    groups: dict[str, Scores] = {}
    for name, value in found["scores"].items():
        group, _, label = name.rpartition("/")
        groups.setdefault(group, {})[label] = value
    lines += rows(groups.pop(""), "return")
    for unit, points in groups.items():
        lines += [POINTS[unit], *rows(points, "return", f"{unit} ")]
    return "\n".join(lines)


def flat(settings: Any, name: str = "") -> dict[str, Any]:
    """Nested settings by their full names, in order."""
    if isinstance(settings, dict) and settings:
        parts = ((f"{name}.{key}" if name else key, part) for key, part in settings.items())
        return {key: value for full, part in parts for key, value in flat(part, full).items()}
    return {name: settings}
