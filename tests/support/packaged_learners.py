"""Build the packaged learners small, each from its YAML."""

import importlib
import inspect
from typing import Any

import pytest
import torch
from torch import Tensor

from lightning_meta.config.merge import PACKAGED, read
from lightning_meta.core import Episode, Examples, FewShotLearner
from lightning_meta.training.checkpoint import build

SPECS = {path.stem: read(path)["model"]["learner"] for path in sorted((PACKAGED / "learners").glob("*.yaml"))}


# Batch statistics cancel the bias of the convolution before them: its gradient is rounding error.
CANCELLED = tuple(f"blocks.{i}.0.bias" for i in range(4))


IMAGE = (1, 16, 16)


CONV = {"class_path": "lightning_meta.nn.Conv4", "init_args": {"in_channels": 1, "image_size": 16, "width": 8}}


MLP = {"class_path": "lightning_meta.nn.MLP", "init_args": {"sizes": [256, 32]}}


TINY_MLP = {"class_path": "lightning_meta.nn.MLP", "init_args": {"sizes": [64, 32]}}


every_learner = pytest.mark.parametrize("name", SPECS)


every_backbone = pytest.mark.parametrize("backbone", [CONV, MLP], ids=["conv", "mlp"])


def kind(spec: dict) -> Any:
    """The class that a description names."""
    module, _, name = spec["class_path"].rpartition(".")
    return getattr(importlib.import_module(module), name)


def smaller(spec: dict) -> dict:
    """The description with the arguments by which its class, and every class within, says that it is small."""
    given = spec.get("init_args", {})
    args = {k: smaller(v) if isinstance(v, dict) and "class_path" in v else v for k, v in given.items()}
    small = {k: min(v, given.get(k, v)) for k, v in getattr(kind(spec), "small", {}).items()}
    return {**spec, "init_args": args | small}


def spec(name: str, backbone: dict = CONV, outputs: int = 5, **changes: object) -> dict:
    """The learner's YAML, small, with a backbone put in, and the number of outputs where it has one."""
    args = {**smaller(SPECS[name])["init_args"], "backbone": backbone, **changes}
    linked = {argument: outputs for argument in ("outputs", "classes") if takes(name, argument)}
    return {**SPECS[name], "init_args": args | linked}


def make(name: str, *args: object, **changes: object) -> FewShotLearner:
    return build(spec(name, *args, **changes))


def takes(name: str, argument: str) -> bool:
    return argument in inspect.signature(kind(SPECS[name])).parameters


def regression(tasks: int, n: int, outputs: int) -> Examples:
    x = torch.randn(tasks, n, *IMAGE)
    return Examples(x, torch.sin(x.flatten(2)[..., :outputs]))


def map_tensors(episode: Episode, function) -> Episode:
    return Episode(*(Examples(*map(function, part)) for part in episode))


def audible(grads: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: grad for name, grad in grads.items() if not name.endswith(CANCELLED)}
