"""Checkpoint files: written whole, read safely, and back to a learner."""

import io
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning_fabric.plugins import TorchCheckpointIO
from torch import Tensor

from lightning_meta.core import FewShotLearner, InputError, MetaRLLearner
from lightning_meta.core.files import whole
from lightning_meta.nn.build import build as build_module
from lightning_meta.nn.build import find
from lightning_meta.nn.frozen import Frozen

Learner = FewShotLearner | MetaRLLearner


class WholeFiles(TorchCheckpointIO):
    """Writes a checkpoint beside its place, then moves it there: a kill or a full disk leaves the earlier file whole."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        if "://" in str(path):
            return super().save_checkpoint(checkpoint, path, storage_options)
        memory = io.BytesIO()  # written to a file, torch forgets why a disk refuses
        torch.save(checkpoint, memory)
        with whole(Path(path)) as aside:
            aside.write_bytes(memory.getbuffer())


def read(path: str | Path) -> dict[str, Any]:
    """The checkpoint as a dictionary of tensors and plain values; no code in it is run.

    Raises InputError where there is no such file or it is no checkpoint.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"no checkpoint at {path}: `fit` prints where it wrote the best and the last one")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes fail in many ways
        raise InputError(
            f"{path} is no checkpoint of lightning-meta: it is truncated, no file of PyTorch's, or holds code"
        ) from error
    if not (isinstance(checkpoint, dict) and isinstance(checkpoint.get("state_dict"), dict)):
        raise InputError(f"{path} is no checkpoint of lightning-meta: it holds no state_dict")
    return checkpoint


def load(path: str | Path, learner: Any = None) -> Any:
    """The learner of a checkpoint, in evaluation mode on the CPU, a FewShotLearner or a MetaRLLearner:

        learner = load(path); phi = learner.adapt(support); logits = phi(x)

    A checkpoint that the command line wrote names its learner. For another, give a `learner` built like the one that was
    trained. Raises InputError where the file is no checkpoint, names no learner, or holds the weights of another one.
    """
    checkpoint = read(path)
    if learner is None:
        spec = _spec(checkpoint)
        if not spec:
            raise InputError(
                f"{path} does not say which learner it holds: call load(path, learner) with one built like it"
            )
        learner = build(_without_files(spec))
    load_weights(learner, checkpoint, path)
    return learner.eval()


def load_weights(learner: Learner, checkpoint: dict[str, Any], path: str | Path) -> None:
    """Copy a checkpoint's weights into the learner; InputError names the first differences where they are not its own."""
    spec = _spec(checkpoint)
    if spec and find(spec["class_path"]) is not type(learner):
        raise InputError(
            f"{path} is of another learner, {spec['class_path']}, than {type(learner).__name__} as configured: use the"
            " configuration that it was trained with"
        )
    prefix, own = "learner.", learner.state_dict()
    weights = {name.removeprefix(prefix): w for name, w in checkpoint["state_dict"].items() if name.startswith(prefix)}
    differ = [f"{name} is missing" for name in own if name not in weights]
    differ += [f"{name} is not the learner's" for name in weights if name not in own]
    differ += [
        f"{name} is {list(weights[name].shape)}, the learner's {list(w.shape)}"
        for name, w in own.items()
        if isinstance(w, Tensor) and name in weights and weights[name].shape != w.shape
    ]
    if differ:
        raise InputError(
            f"{path} is of another learner than {type(learner).__name__} as configured ({'; '.join(differ[:3])}"
            f"{', ...' if len(differ) > 3 else ''}): use the configuration that it was trained with"
        )
    learner.load_state_dict(weights)


def build(spec: dict[str, Any]) -> Learner:
    """The learner that a configuration describes: `class_path` and `init_args`, nested for a backbone."""
    learner = build_module(spec)
    if not isinstance(learner, Learner):
        raise InputError(f"the checkpoint names {spec['class_path']!r}, which is no FewShotLearner or MetaRLLearner")
    return learner


class Origin(NamedTuple):
    """What a checkpoint tells of its making; None where it does not."""

    path: str
    trained_on: str | None  # the root of a shard set, else the name of a world or a data module
    steps: int | None
    cpu_seconds: float | None


def origin(path: str | Path, checkpoint: dict[str, Any]) -> Origin:
    data = checkpoint.get("hyper_parameters", {}).get("data")
    source = None
    if isinstance(data, dict) and isinstance(data.get("class_path"), str):
        args = data.get("init_args") or {}
        source = args.get("root") or (args.get("world") or data)["class_path"].rpartition(".")[2]
    cost = checkpoint.get("callbacks", {}).get("Cost") or {}
    return Origin(str(path), source, checkpoint.get("global_step"), cost.get("cpu_seconds"))


def unlike(learner: dict[str, Any], checkpoint: dict[str, Any]) -> list[str]:
    """Arguments of a learner as configured that are not those it was trained with, as lines."""
    own, trained = learner.get("init_args") or {}, _spec(checkpoint).get("init_args") or {}
    return [
        f"{name} is {own[name]!r}, trained with {trained[name]!r}"
        for name in own.keys() & trained.keys()
        if own[name] != trained[name]
    ]


def _spec(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """The configuration of a checkpoint's learner, empty where it has none."""
    spec = checkpoint.get("hyper_parameters", {}).get("learner")
    return spec if isinstance(spec, dict) and "class_path" in spec else {}


def _without_files(spec: dict[str, Any]) -> dict[str, Any]:
    """The description of a learner whose frozen backbone reads no file of weights: the checkpoint holds them."""
    args = {
        name: _without_files(value) if isinstance(value, dict) and "class_path" in value else value
        for name, value in (spec.get("init_args") or {}).items()
    }
    return {**spec, "init_args": args | ({"weights": None} if find(spec["class_path"]) is Frozen else {})}
