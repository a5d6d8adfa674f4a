"""The two halves: learners of few-shot tasks, trained by MetaTraining, and agents in decision processes, by MetaRL."""

from pathlib import Path
from typing import Any

from lightning_meta.core import FewShotLearner, InputError, MetaRLLearner
from lightning_meta.nn.build import find
from lightning_meta.training import MetaRL, MetaTraining

# Arguments of a learner that its data tell. Those of the training data stay as they are in a checkpoint, so that other
# data can test it.
OF_DATA = {MetaTraining: ("outputs", "classes"), MetaRL: ("observations", "actions", "discrete", "tasks")}
OF_TRAINING_DATA = ("classes", "tasks")


def module(config: dict[str, Any], rest: list[str]) -> type[MetaTraining] | type[MetaRL]:
    """Return the Lightning module that trains the learner named by the configuration files, or by the arguments `rest`
    that override them. Raise InputError if the data do not suit it: labelled examples for an agent, or MDPs for a learner."""
    learner, data = (named(key, config, rest) for key in ("model.learner", "data"))
    gives = getattr(data, "gives", None)
    if issubclass(learner, MetaRLLearner):
        if gives == "labelled examples":
            raise InputError(
                f"{learner.__name__} is an agent and acts in decision processes, and {data.__name__} gives labelled"
                " examples: take a world, --config bandits.yaml say (`lightning-meta configs` lists them)"
            )
        return MetaRL
    if issubclass(learner, FewShotLearner) and gives == "decision processes":
        raise InputError(
            f"{learner.__name__} learns from labelled examples, and {data.__name__} gives decision processes: take an agent"
            " (`lightning-meta configs` lists them)"
        )
    return MetaTraining


def named(key: str, config: dict[str, Any], rest: list[str]) -> type:
    """The class at a dotted key, `object` where Python finds none."""
    node: Any = config
    for part in (*key.split("."), "class_path"):
        node = node.get(part) if isinstance(node, dict) else None
    for arg, following in zip(rest, [*rest[1:], ""], strict=False):
        option, is_one, value = arg.partition("=")
        if option in (f"--{key}", f"--{key}.class_path"):
            node = value if is_one else following
    kind = find(str(node))
    return kind if isinstance(kind, type) else object


def few_shot(path: Path, learner: Any, command: str) -> FewShotLearner:
    """The learner of a checkpoint, which `command` takes of supervised learning alone."""
    if not isinstance(learner, FewShotLearner):
        raise InputError(
            f"{path} holds {type(learner).__name__}, an agent, and {command} is for learners of labelled examples:"
            " `lightning-meta test` tells its returns"
        )
    return learner
