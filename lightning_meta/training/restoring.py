"""A learner from the description in a checkpoint, which may be a stranger's."""

import os
import warnings
from typing import Any, get_args

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from lightning_meta.core import FewShotLearner, InputError, MetaRLLearner
from lightning_meta.nn.annotated import MISSING, alternatives, defaults, is_path_type, is_record, record, takes
from lightning_meta.nn.build import arguments, build
from lightning_meta.training.arguments import check_types
from lightning_meta.training.trust import KNOWN, Trust, brief

Learner = FewShotLearner | MetaRLLearner
Spec = dict[str, Any]  # class_path and init_args

LARGEST = 2**34  # bytes of a tensor
SLACK = 2**26  # bytes more than its weights that a learner may seem to have before it is built
ENDINGS = (".bin", ".ckpt", ".csv", ".h5", ".json", ".npy", ".npz", ".onnx", ".pickle", ".pkl", ".pt", ".pth")
ENDINGS += (".safetensors", ".tar", ".txt", ".yaml", ".yml", ".zip")


def restored(spec: Spec, weights: dict[str, Any], trust: Trust) -> Learner:
    """The learner that a description names, on the CPU, its weights new.

    It is first built on the device `meta`, which takes no memory: it must have the names and shapes of `weights`. Files
    that its arguments name are not opened. Raises InputError, a sentence about "it", the file.
    """
    kind = trust.find(spec.get("class_path"))
    if not (isinstance(kind, type) and issubclass(kind, Learner)):
        raise InputError(f"it names {spec['class_path']!r}, which is not a FewShotLearner or MetaRLLearner")
    try:
        spec = prepared(spec, trust)
        rehearse(spec, weights, trust)
        learner = build(spec, trust.find, trust.name)
        check_weights(learner, weights)
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
    built at all, or to be built as it is: what then fails, or differs and is not larger, is built without this rehearsal."""
    try:
        with torch.device("meta"), Bounded(20 * len(weights) + 2000):
            like = build(spec, trust.find, trust.name)
    except InputError:
        raise
    except Exception:
        if trust.used:
            return
        raise
    if not (trust.used and size(like.state_dict()) <= SLACK + 2 * size(weights)):
        check_weights(like, weights)


def size(state: dict[str, Any]) -> int:
    """Bytes of the tensors in a state."""
    return sum(w.numel() * w.element_size() for w in state.values() if isinstance(w, Tensor))


def check_weights(learner: nn.Module, weights: dict[str, Any]) -> None:
    """InputError where the learner has not these weights."""
    if found := differences(learner, weights):
        raise InputError(f"its {type(learner).__name__} and its weights do not go together ({found})")


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


def prepared(value: Any, trust: Trust, hint: Any = Any) -> Any:
    """A description whose classes may be built, whose arguments are of their types, and which names no file to read. `hint` is
    the annotation of what it is given to."""
    if isinstance(value, (list, tuple)):
        return [prepared(one, trust) for one in value]
    if not isinstance(value, dict):
        return value
    if kind := next(filter(is_record, alternatives(hint)), None):
        if "class_path" not in value:
            return fields_kept(kind, value, trust)
        return fields_kept(kind, value.get("init_args") or {}, trust)
    if "class_path" not in value:
        return {key: prepared(one, trust) for key, one in value.items()}
    kind = trust.find(value["class_path"])
    args = fields_kept(kind, arguments(value), trust)
    if args.get("pretrained") is True:
        args["pretrained"] = False  # what it would fetch is in the checkpoint
    if kind in KNOWN.values():
        check_types(kind, args, trust.find)
    return {"class_path": value["class_path"], "init_args": args}


def fields_kept(kind: Any, values: dict[str, Any], trust: Trust) -> dict[str, Any]:
    """The arguments of a class that name no file, prepared."""
    hints = record(kind) if is_record(kind) else takes(kind)
    kept = {n: v for n, v in values.items() if not names_a_file(kind, n, v, hints.get(n, Any))}
    return {name: prepared(one, trust, hints.get(name, Any)) for name, one in kept.items()}


def names_a_file(kind: Any, name: str, value: Any, hint: Any) -> bool:
    """Return whether an argument names a file of weights, which the checkpoint contains: it is left out. Raise InputError if it
    cannot be left out."""
    if name == "weights" and isinstance(value, str):
        return True
    if kind in KNOWN.values() or not (is_place(value, hint) or names_places(value, hint)):
        return False
    default = defaults(kind).get(name)
    if default is MISSING:
        raise InputError(
            f"its {kind.__name__} needs {name}, {brief(value)}, and what a checkpoint names is not opened: in Python,"
            " load(path, learner) takes a learner that you built"
        )
    if default is None or str(default) != value:
        warnings.warn(
            f"{name} of {kind.__name__}, {brief(value)}, is left out: no file is read that a checkpoint names",
            stacklevel=2,
        )
    return True


def names_places(value: Any, hint: Any, within: bool = False) -> bool:
    """Return whether an annotation says that a text, or one in a list or a dictionary, is the name of a file; `within`
    these, one in a record as well."""
    if isinstance(value, str):
        return is_path_type(hint)
    if kind := next(filter(is_record, alternatives(hint)), None):
        given = (value.get("init_args") or {} if "class_path" in value else value) if isinstance(value, dict) else {}
        return within and any(names_places(one, record(kind).get(name, Any), True) for name, one in given.items())
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    kinds = [inner for one in alternatives(hint) for inner in get_args(one)]
    return any(names_places(one, inner, True) for inner in kinds for one in parts)


def is_place(value: Any, hint: Any = Any) -> bool:
    """Return whether it looks like the name of a file, a folder or a URL, or holds one. The fields of a record are looked
    at one by one."""
    if isinstance(value, dict):
        whole = "class_path" not in value and not any(map(is_record, alternatives(hint)))
        return whole and any(map(is_place, value.values()))
    if isinstance(value, (list, tuple)):
        return any(map(is_place, value))
    if not isinstance(value, str):
        return False
    return any(mark in value for mark in "/\\~") or value.lower().endswith(ENDINGS) or os.path.lexists(value)
