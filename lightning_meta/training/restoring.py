"""A learner from the description in a checkpoint, which may be a stranger's."""

import inspect
import os
import warnings
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from lightning_meta.core import FewShotLearner, InputError, MetaRLLearner
from lightning_meta.nn.build import arguments, build
from lightning_meta.training.arguments import check_types
from lightning_meta.training.trust import KNOWN, Trust, brief

Learner = FewShotLearner | MetaRLLearner
Spec = dict[str, Any]  # class_path and init_args

LARGEST = 2**34  # bytes of a tensor
ENDINGS = (".bin", ".ckpt", ".csv", ".h5", ".json", ".npy", ".npz", ".onnx", ".pickle", ".pkl", ".pt", ".pth")
ENDINGS += (".safetensors", ".tar", ".txt", ".yaml", ".yml", ".zip")


def restored(spec: Spec, weights: dict[str, Any], trust: Trust) -> Learner:
    """The learner that a description names, on the CPU, its weights new.

    It is first built on the device `meta`, which takes no memory: it must have the names and shapes of `weights`. Files
    that its arguments name are not opened. Raises InputError, a sentence about "it", the file.
    """
    kind = trust.find(spec.get("class_path"))
    if not (isinstance(kind, type) and issubclass(kind, Learner)):
        raise InputError(f"it names {spec['class_path']!r}, which is no FewShotLearner or MetaRLLearner")
    try:
        spec = prepared(spec, trust)
        rehearse(spec, weights, trust)
        learner = build(spec, trust.find)
    except InputError:
        raise
    except Exception as error:  # of a constructor, which was given what the file says
        raise InputError(
            f"its {kind.__name__} cannot be built as it says ({type(error).__name__}: {brief(error)})"
        ) from error
    assert isinstance(learner, Learner)  # its class is one
    if any(w.device.type != "cpu" for w in (*learner.parameters(), *learner.buffers())):
        raise InputError(f"its {kind.__name__} asks for a device, which is yours to choose")
    return learner


def rehearse(spec: Spec, weights: dict[str, Any], trust: Trust) -> None:
    """InputError where the learner would not have these weights. A class of a trusted package may need real tensors to be
    built at all: what then fails is built without this rehearsal."""
    try:
        with torch.device("meta"), Bounded(20 * len(weights) + 2000):
            like = build(spec, trust.find)
    except InputError:
        raise
    except Exception:
        if trust.packages:
            return
        raise
    if found := differences(like, weights):
        raise InputError(f"its {type(like).__name__} and its weights do not go together ({found})")


class Bounded(TorchDispatchMode):
    """InputError where more is asked of torch than building a network takes: a tensor of more than LARGEST bytes, or more
    than `left` operations."""

    def __init__(self, left: int):
        super().__init__()
        self.left = left

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.left -= 1
        if self.left < 0:
            raise InputError("it describes a network of more parts than it has weights for")
        if isinstance(out, Tensor) and out.numel() * out.element_size() > LARGEST:
            raise InputError(f"it asks for a tensor of {list(out.shape)}, more than {LARGEST // 2**30} GiB")
        return out


def differences(learner: nn.Module, weights: dict[str, Any]) -> str:
    """The first names, shapes and types in which a learner's weights are not these; empty where they are."""
    own = learner.state_dict()
    found = [f"{name} is missing" for name in own if name not in weights]
    found += [f"{name} is not the learner's" for name in weights if name not in own]
    for name, w in own.items():
        given = weights.get(name, w)
        if not isinstance(w, Tensor):
            continue
        if not isinstance(given, Tensor):
            found.append(f"{name} is {brief(given)}, no tensor")
        elif given.shape != w.shape:
            found.append(f"{name} is {list(given.shape)}, the learner's {list(w.shape)}")
        elif (given.is_floating_point(), given.is_complex()) != (w.is_floating_point(), w.is_complex()):
            found.append(f"{name} is of {given.dtype}, the learner's of {w.dtype}")
    return "; ".join(found[:3]) + (", ..." if len(found) > 3 else "")


def prepared(value: Any, trust: Trust) -> Any:
    """A description whose classes may be built, whose arguments are of their types, and which names no file to read."""
    if isinstance(value, (list, tuple)):
        return [prepared(one, trust) for one in value]
    if not isinstance(value, dict):
        return value
    if "class_path" not in value:
        return {key: prepared(one, trust) for key, one in value.items()}
    kind = trust.find(value["class_path"])
    own = arguments(value)
    args = {name: prepared(one, trust) for name, one in own.items() if not names_a_file(kind, name, one)}
    if args.get("pretrained") is True:
        args["pretrained"] = False  # what it would fetch is in the checkpoint
    if kind in KNOWN.values():
        check_types(kind, args, trust.find)
    return {"class_path": value["class_path"], "init_args": args}


def names_a_file(kind: Any, name: str, value: Any) -> bool:
    """Whether an argument names weights to read, which are in the checkpoint: it is left out. InputError where it cannot."""
    if name == "weights" and isinstance(value, str):
        return True
    if kind in KNOWN.values() or not is_place(value):
        return False
    parameter = inspect.signature(kind).parameters.get(name)
    if parameter is not None and parameter.default is parameter.empty:
        raise InputError(
            f"its {kind.__name__} needs {name}, {brief(value)}, and what a checkpoint names is not opened: in Python,"
            " load(path, learner) takes a learner that you built"
        )
    warnings.warn(
        f"{name} of {kind.__name__}, {brief(value)}, is left out: no file is read that a checkpoint names", stacklevel=2
    )
    return True


def is_place(value: Any) -> bool:
    """Whether it looks like the name of a file, a folder or a URL, or holds one."""
    if isinstance(value, dict):
        return any(map(is_place, value.values())) and "class_path" not in value
    if isinstance(value, (list, tuple)):
        return any(map(is_place, value))
    if not isinstance(value, str):
        return False
    return any(mark in value for mark in "/\\~") or value.lower().endswith(ENDINGS) or os.path.lexists(value)
