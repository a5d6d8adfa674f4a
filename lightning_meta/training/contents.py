"""Read the contents of a checkpoint, possibly a stranger's, without running code, and check them before use."""

import pickletools
import re
import zipfile
from pathlib import Path, PurePath
from typing import Any

import torch
from packaging.version import Version
from torch import Tensor

from lightning_meta.core import InputError
from lightning_meta.training.trust import brief

DESCRIPTIONS = 2**25  # bytes of a checkpoint beside its tensors
DEEPEST, MOST = 40, 200_000  # levels and values of a description
# What the pickle in a checkpoint may name. Of the rest that torch allows, some makes memory from a number.
GLOBALS = re.compile(
    r"collections (OrderedDict|Counter)|builtins (set|complex)|torch\._utils _rebuild_(tensor_v[23]|parameter\w*)"
    r"|torch (Size|device|[A-Z]\w+Storage|b?float\d+\w*|u?int\d+|bool|complex\d+)|torch\.storage UntypedStorage"
)
FIELDS = {  # of Lightning's
    "epoch": int,
    "global_step": int,
    "callbacks": dict,
    "loops": dict,
    "optimizer_states": list,
    "lr_schedulers": list,
    "hyper_parameters": dict,
    "pytorch-lightning_version": str,
}
PATHS = ("best_model_path", "kth_best_model_path", "last_model_path")  # of a ModelCheckpoint
READ = ("learner", "optimizer", "scheduler", "data")  # of the hyper-parameters


def read(path: str | Path) -> dict[str, Any]:
    """The checkpoint as a dictionary of tensors and plain values; no code in it is run, and nothing is imported.

    Raises InputError where there is no such file, or it is not a checkpoint.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"no checkpoint at {path}: `fit` prints where it wrote the best and the last one")
    try:
        check_archive(path)
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes fail in many ways
        raise InputError(
            f"{path} is not a checkpoint of lightning-meta: it is truncated, not a file of PyTorch's, or holds code"
        ) from error
    try:
        check_contents(checkpoint)
    except ValueError as error:
        raise InputError(f"{path} is not a checkpoint of lightning-meta, or is damaged: {error}") from error
    return checkpoint


def check_archive(path: Path) -> None:
    """ValueError where a zip file would unpack to more than it is long, or its pickle names what no checkpoint needs."""
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        if any(entry.compress_type for entry in entries) or sum(e.file_size for e in entries) > path.stat().st_size:
            raise ValueError("it is larger than its file")
        (pickled,) = (entry for entry in entries if PurePath(entry.filename).name == "data.pkl")
        if pickled.file_size > DESCRIPTIONS:
            raise ValueError("its descriptions are long")
        for opcode, argument, _ in pickletools.genops(archive.read(pickled)):
            if opcode.name == "GLOBAL" and not GLOBALS.fullmatch(str(argument)):
                raise ValueError(f"it names {argument}")


def check_contents(checkpoint: Any) -> None:
    """ValueError where a part has another type than Lightning gives it, a tensor claims more than its file holds, or a
    description is not plain YAML."""
    if not (isinstance(checkpoint, dict) and isinstance(checkpoint.get("state_dict"), dict)):
        raise ValueError("it holds no state_dict")
    for name in (*checkpoint, *checkpoint["state_dict"]):
        if not (isinstance(name, str) and name.isprintable() and len(name) <= 1000):
            raise ValueError(f"a part has the name {brief(name)}")
    check_tensors(checkpoint)
    for name, kind in FIELDS.items():
        value = checkpoint.get(name, kind())
        if not isinstance(value, kind) or isinstance(value, bool) or (kind is int and not 0 <= value < 2**63):
            raise ValueError(f"{name} is {brief(value)}")
    for state in checkpoint.get("callbacks", {}).values():
        check_paths(state)
    for name, parts in {"optimizer_states": {"state": dict, "param_groups": list}, "lr_schedulers": {}}.items():
        for state in checkpoint.get(name, []):
            if not isinstance(state, dict) or not all(
                isinstance(state.get(part), kind) for part, kind in parts.items()
            ):
                raise ValueError(f"{name} holds {brief(state)}")
            if not all(isinstance(moments, dict) for moments in state.get("state", {}).values()):
                raise ValueError(f"{name} holds moments that are none")
    if "pytorch-lightning_version" in checkpoint and Version(checkpoint["pytorch-lightning_version"]) < Version("2.0"):
        raise ValueError(f"it is of Lightning {checkpoint['pytorch-lightning_version']}")
    check_description(checkpoint.get("callbacks", {}).get("Configuration"), "configuration")
    check_progress(checkpoint.get("loops", {}))
    for name in READ:
        check_description(checkpoint.get("hyper_parameters", {}).get(name), name)


def check_tensors(checkpoint: dict[str, Any]) -> None:
    queue: list[Any] = [checkpoint]
    seen = {id(checkpoint)}
    while queue:
        holder = queue.pop()
        for part in (*holder, *holder.values()) if isinstance(holder, dict) else holder:
            if isinstance(part, (dict, list, tuple, set)) and id(part) not in seen:
                seen.add(id(part))
                queue.append(part)
            elif isinstance(part, Tensor) and part.numel() * part.element_size() > part.untyped_storage().nbytes():
                raise ValueError(f"a tensor claims the shape {list(part.shape)}, and its numbers are not there")


def check_progress(loops: Any) -> None:
    """Check that the progress of a training's loops is counted in whole numbers."""
    check_description(loops, "loops")
    queue = [loops]
    while queue:
        for name, value in queue.pop().items():
            if name in ("ready", "started", "processed", "completed", "position") and type(value) is not int:
                raise ValueError(f"{name} of a loop is {brief(value)}")
            if isinstance(value, dict):
                queue.append(value)


def check_paths(state: Any) -> None:
    """A callback's state holds paths of checkpoints, which a resumed run may delete as it writes better ones."""
    if not isinstance(state, dict):
        raise ValueError(f"a callback's state is {brief(state)}")
    kept = state.get("best_k_models")
    paths = [state[name] for name in PATHS if state.get(name) is not None]
    for path in [*paths, *(kept if isinstance(kept, dict) else ())]:
        if not isinstance(path, str) or ".." in PurePath(path).parts or "://" in path:
            raise ValueError(f"a callback's state names {brief(path)}, no file of its run")


def check_description(value: Any, name: str) -> None:
    """Plain values, as a YAML has them, neither deep nor in circles."""
    count, level = 0, [value]
    for _ in range(DEEPEST):
        count += len(level)
        if count > MOST:
            break
        below: list[Any] = []
        for one in level:
            if isinstance(one, dict):
                if not all(isinstance(key, str) for key in one):
                    raise ValueError(f"the hyper-parameter {name} has keys that are not text")
                if not isinstance(one.get("init_args") or {}, dict) or not isinstance(
                    one.get("dict_kwargs") or {}, dict
                ):
                    raise ValueError(f"the hyper-parameter {name} has init_args that are not a dictionary")
                below += one.values()
            elif isinstance(one, (list, tuple)):
                below += one
            elif not (
                one is None or isinstance(one, (bool, float, str)) or (isinstance(one, int) and abs(one) < 2**63)
            ):
                raise ValueError(f"the hyper-parameter {name} holds {brief(one)}")
        if not below:
            return
        level = below
    raise ValueError(f"the hyper-parameter {name} is deeper or longer than a configuration")
