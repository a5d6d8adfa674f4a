"""Checkpoint files: written whole, read safely, and back to a learner."""

import io
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning_fabric.plugins import TorchCheckpointIO
from torch import Tensor

from lightning_meta.core import InputError
from lightning_meta.core.files import whole
from lightning_meta.nn.build import arguments
from lightning_meta.nn.build import build as build_module
from lightning_meta.rl.parts.replay import without_trajectories
from lightning_meta.training.contents import read
from lightning_meta.training.restoring import Learner, differences, restored
from lightning_meta.training.task_data import mixture_name
from lightning_meta.training.trust import Trust, brief


class WholeFiles(TorchCheckpointIO):
    """Writes a checkpoint beside its place, then moves it there: a kill or a full disk leaves the earlier file whole. One
    named `best` is to be used, not gone on from, and holds no replay."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        if Path(path).stem == "best":
            checkpoint = {**checkpoint, "state_dict": without_trajectories(checkpoint["state_dict"])}
        if "://" in str(path):
            return super().save_checkpoint(checkpoint, path, storage_options)
        memory = io.BytesIO()  # written to a file, torch forgets why a disk refuses
        torch.save(checkpoint, memory)
        with whole(Path(path)) as aside:
            aside.write_bytes(memory.getbuffer())

    def load_checkpoint(
        self, path: str | Path, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """As `read` does, so that what Lightning resumes from was checked. Raises InputError."""
        if "://" in str(path):
            return super().load_checkpoint(path, map_location, weights_only)
        checkpoint = read(path)
        if not {"pytorch-lightning_version", "loops"} <= checkpoint.keys():
            raise InputError(f"{path} holds weights and no state of a training: there is nothing to resume")
        return checkpoint


def load(path: str | Path, learner: Any = None, trust: Sequence[str] = ()) -> Any:
    """The learner of a checkpoint, in evaluation mode on the CPU, a FewShotLearner or a MetaRLLearner:

        learner = load(path); phi = learner.adapt(support); logits = phi(x)

    A checkpoint that the command line wrote names its learner, and may name no class but those on a list. `trust` are the
    packages whose classes it may name too, `["my_package"]`: their code runs. For another checkpoint, give a `learner`
    built like the one that was trained. Raises InputError where the file is not a checkpoint, names no learner or a class that
    it may not, or holds the weights of another one.
    """
    checkpoint, trusted = read(path), Trust(trust)
    if learner is not None:
        load_weights(learner, checkpoint, path)
        return learner.eval()
    spec = _spec(checkpoint)
    if not spec:
        raise InputError(
            f"{path} does not say which learner it holds, as one that was saved from Python: build the learner as it was"
            " built to be trained, and call load(path, learner)"
        )
    try:
        learner = restored(spec, _weights(checkpoint), trusted)
    except InputError as error:
        raise InputError(f"{path} does not give a learner: {error}") from error
    load_weights(learner, checkpoint, path)
    return learner.eval()


def load_weights(learner: Learner, checkpoint: dict[str, Any], path: str | Path) -> None:
    """Copy a checkpoint's weights into the learner; InputError names the first differences where they are not its own."""
    spec, kind = _spec(checkpoint), type(learner)
    if spec and not is_called(kind, spec["class_path"]):
        raise InputError(
            f"{path} is of another learner, {brief(spec['class_path'])}, than {kind.__name__} as configured: use the"
            " configuration that it was trained with"
        )
    weights = _weights(checkpoint)
    if found := differences(learner, weights):
        raise InputError(
            f"{path} is of another learner than {kind.__name__} as configured ({found}): use the configuration that it was"
            " trained with"
        )
    try:
        learner.load_state_dict(weights)
    except Exception as error:  # of a module that reads a state of its own
        raise InputError(f"{path} holds no state of {kind.__name__}: {brief(error)}") from error


def is_called(kind: type, class_path: Any) -> bool:
    """Return whether a path names a given class, without importing anything that a file names."""
    module, _, name = str(class_path).rpartition(".")
    known = vars(sys.modules[module]) if module in sys.modules else {}
    return known[name] is kind if name in known else name == kind.__name__


def build(spec: dict[str, Any]) -> Learner:
    """The learner that a user's configuration describes: `class_path` and `init_args`, nested for a backbone."""
    learner = build_module(spec)
    if not isinstance(learner, Learner):
        raise InputError(f"{spec['class_path']!r} is not a FewShotLearner or MetaRLLearner")
    return learner


class Origin(NamedTuple):
    """The origin of a checkpoint, as it records it; None for what it does not record."""

    path: str | None
    trained_on: (
        str | None
    )  # the root of a shard set or the name of a mixture, else the name of a world or a data module
    steps: int | None
    cpu_seconds: float | None
    world: dict[str, Any] | None = None  # how that world was set


def origin(path: str | Path, checkpoint: dict[str, Any]) -> Origin:
    data = checkpoint.get("hyper_parameters", {}).get("data")
    source = None
    if isinstance(data, dict) and isinstance(data.get("class_path"), str):
        args = data_arguments(checkpoint)
        world = args.get("world")
        made = world if isinstance(world, dict) and isinstance(world.get("class_path"), str) else data
        source = _root(args) or made["class_path"].rpartition(".")[2]
    seconds = checkpoint.get("callbacks", {}).get("Cost", {}).get("cpu_seconds")
    known = isinstance(seconds, (int, float)) and math.isfinite(seconds)
    return Origin(str(path), source, checkpoint.get("global_step"), seconds if known else None, _world(checkpoint))


def _root(args: dict[str, Any]) -> str | None:
    """The root of the shard set that a data module was given, or the name of the mixture of several; None without any."""
    if isinstance(args.get("root"), str):
        return args["root"]
    sources = args.get("sources")
    each = list(sources.values()) if isinstance(sources, dict) else []
    roots = [one["root"] for one in each if isinstance(one, dict) and isinstance(one.get("root"), str)]
    return mixture_name(roots) if roots else None


def _world(checkpoint: dict[str, Any]) -> dict[str, Any] | None:
    """The settings of the world that an agent was trained in, which are plain values and not nested without end."""
    for state in checkpoint.values():
        if isinstance(state, dict) and isinstance(state.get("world"), dict):
            try:
                return state["world"] if json.dumps(state["world"]).count("{") < 100 else None
            except (TypeError, ValueError, RecursionError):
                return None
    return None


def data_arguments(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """The settings of the data that a checkpoint was trained on; empty where it does not tell."""
    data = checkpoint.get("hyper_parameters", {}).get("data")
    return (data.get("init_args") or {}) if isinstance(data, dict) else {}


def learner_arguments(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a checkpoint's learner; empty where it does not hold them."""
    spec = _spec(checkpoint)
    return arguments(spec) if spec else {}


def trained_with(path: str | Path, name: str) -> int | None:
    """Return a count from the arguments of a checkpoint's learner: 1 if the learner has no such argument, None if the
    checkpoint records no learner. Raise InputError if the count exceeds the length of the weights."""
    checkpoint = read(path)
    spec = _spec(checkpoint)
    if not spec:
        return None
    number = arguments(spec).get(name, 1)
    if number is not None and not (type(number) is int and 1 <= number <= _longest(checkpoint["state_dict"])):
        raise InputError(f"{path} says {name} {brief(number)} of its learner, which are not as many as its weights")
    return number


def _longest(state: Any) -> int:
    """The most that there is along any axis of the tensors in a state."""
    if isinstance(state, dict):
        return max(map(_longest, state.values()), default=1)
    return max(state.shape, default=1) if isinstance(state, Tensor) else 1


def unlike(learner: dict[str, Any], checkpoint: dict[str, Any]) -> list[str]:
    """Arguments of a learner as configured that are not those it was trained with, as lines."""
    own, trained = learner.get("init_args") or {}, _spec(checkpoint).get("init_args") or {}
    return [
        f"{name} is {own[name]!r}, trained with {trained[name]!r}"
        for name in own.keys() & trained.keys()
        if own[name] != trained[name]
    ]


def _weights(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """The learner's own, by the names that it calls them."""
    prefix = "learner."
    state = checkpoint["state_dict"].items()
    return {name.removeprefix(prefix): w for name, w in state if name.startswith(prefix)}


def _spec(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """The configuration of a checkpoint's learner, empty where it has none."""
    spec = checkpoint.get("hyper_parameters", {}).get("learner")
    return spec if isinstance(spec, dict) and "class_path" in spec else {}
