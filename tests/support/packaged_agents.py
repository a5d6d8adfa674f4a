"""Build the packaged agents small, each from its YAML."""

import importlib
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from lightning_meta.config.merge import PACKAGED, read
from lightning_meta.core import InputError, MetaRLLearner, World
from lightning_meta.envs import Bandits, PointRobot
from lightning_meta.training.checkpoint import build

MODELS = {path.stem: read(path)["model"] for path in sorted((PACKAGED / "agents").glob("*.yaml"))}


KNOWN = 4  # tasks that an agent which remembers its tasks trains on


# The laws hold at any size: large agents are tested small.
SMALLER: dict[str, dict[str, Any]] = {
    "l2rl": {"sequence": {"class_path": "lightning_meta.nn.LSTM", "init_args": {"width": 8}}},
    "maml_rl": {"hidden": [8], "inner_lr": 0.5, "test_updates": 1},
    "pearl": {"width": 16, "depth": 1, "gradient_steps": 4, "batch": 16, "context": 8, "capacity": 40},
    "rl2": {"sequence": {"class_path": "lightning_meta.nn.GRU", "init_args": {"width": 8}}},
    "snail_rl": {
        "sequence": {
            "class_path": "lightning_meta.nn.SNAIL",
            "init_args": {"length": 10, "width": 8, "filters": 4, "values": 4},
        },
        "objective": {"class_path": "lightning_meta.rl.PPO", "init_args": {"minibatches": 1}},
    },
}


every_agent = pytest.mark.parametrize("name", MODELS)


def kind(name: str) -> type:
    module, _, cls = MODELS[name]["learner"]["class_path"].rpartition(".")
    return getattr(importlib.import_module(module), cls)


@cache
def world(name: str) -> World:
    """A tiny world that the agent can act in: of discrete actions, or if it takes none of continuous ones."""
    try:
        build(spec(name, Bandits(2, 5)))
    except InputError:
        return PointRobot("dense", 5)
    return Bandits(2, 5)


def spec(name: str, where: World | None = None) -> dict[str, Any]:
    """The agent's YAML with what the world tells put in."""
    where = where or world(name)
    told = {"observations": where.observations, "actions": where.actions, "discrete": where.discrete, "tasks": KNOWN}
    learner, takes = MODELS[name]["learner"], inspect.signature(kind(name)).parameters
    args = {**learner.get("init_args", {}), **SMALLER.get(name, {}), **{k: v for k, v in told.items() if k in takes}}
    return {**learner, "init_args": args}


def make(name: str) -> MetaRLLearner:
    described = spec(name)
    torch.manual_seed(0)
    agent = build(described)
    assert isinstance(agent, MetaRLLearner)
    return agent


def remembers(name: str) -> bool:
    return "tasks" in inspect.signature(kind(name)).parameters


def improver(agent: MetaRLLearner, lr: float = 1e-2) -> Callable[[Tensor], None]:
    """As MetaRL makes it, in one process."""
    theta = [w for w in agent.parameters() if w.requires_grad]
    optimizer = torch.optim.SGD(theta, lr=1.0) if agent.own_outer_step else torch.optim.Adam(theta, lr=lr)

    def outer_step(loss: Tensor) -> None:
        for w, gradient in zip(theta, torch.autograd.grad(loss, theta, allow_unused=True), strict=True):
            w.grad = gradient
        optimizer.step()

    return outer_step


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
