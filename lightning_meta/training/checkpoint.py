"""Checkpoint files: written whole, read safely, and back to a learner."""

from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins import TorchCheckpointIO

from lightning_meta.core import FewShotLearner, InputError
from lightning_meta.nn.build import build as build_module
from lightning_meta.nn.build import find


class WholeFiles(TorchCheckpointIO):
    """Writes a checkpoint beside its place, then moves it there: a kill while it writes leaves the earlier file whole."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        if "://" in str(path):
            return super().save_checkpoint(checkpoint, path, storage_options)
        aside = Path(f"{path}.partial")
        aside.parent.mkdir(parents=True, exist_ok=True)
        torch.save(checkpoint, aside)
        aside.replace(path)


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


def load(path: str | Path, learner: FewShotLearner | None = None) -> FewShotLearner:
    """The learner of a checkpoint, in evaluation mode on the CPU:

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
        learner = build(spec)
    load_weights(learner, checkpoint, path)
    return learner.eval()


def load_weights(learner: FewShotLearner, checkpoint: dict[str, Any], path: str | Path) -> None:
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
        if name in weights and weights[name].shape != w.shape
    ]
    if differ:
        raise InputError(
            f"{path} is of another learner than {type(learner).__name__} as configured ({'; '.join(differ[:3])}"
            f"{', ...' if len(differ) > 3 else ''}): use the configuration that it was trained with"
        )
    learner.load_state_dict(weights)


def build(spec: dict[str, Any]) -> FewShotLearner:
    """The learner that a configuration describes: `class_path` and `init_args`, nested for a backbone."""
    learner = build_module(spec)
    if not isinstance(learner, FewShotLearner):
        raise InputError(f"the checkpoint names {spec['class_path']!r}, which is no FewShotLearner")
    return learner


def training_data(checkpoint: dict[str, Any]) -> str | None:
    """What a checkpoint was trained on: the root of its shard set, else the name of its data module; None where it does
    not tell."""
    data = checkpoint.get("hyper_parameters", {}).get("data")
    if not (isinstance(data, dict) and isinstance(data.get("class_path"), str)):
        return None
    return str((data.get("init_args") or {}).get("root", data["class_path"].rpartition(".")[2]))


def _spec(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """The configuration of a checkpoint's learner, empty where it has none."""
    spec = checkpoint.get("hyper_parameters", {}).get("learner")
    return spec if isinstance(spec, dict) and "class_path" in spec else {}
