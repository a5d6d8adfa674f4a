"""The states that a checkpoint keeps beside theta, tried before a run continues with them."""

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

from pytorch_lightning import Callback
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer

from lightning_meta.core import InputError
from lightning_meta.training.base import MetaModule, step_without_gradient
from lightning_meta.training.safeguards import Configuration
from lightning_meta.training.trust import brief


def unusable(path: Any, error: Exception) -> InputError:
    """The error for a checkpoint whose states fail."""
    return InputError(
        f"{path} cannot be gone on from ({type(error).__name__}: {brief(error)}): its states are damaged, or of other settings"
        " than these. Without --ckpt_path a new training begins"
    )


def check_states(module: MetaModule, callbacks: Sequence[Callback], checkpoint: dict[str, Any], path: Any) -> None:
    """Raise InputError where the states of the optimiser and its schedule fail at a step of copies of theta, or those of a
    callback are of other types than its own."""
    optimizer, scheduler = module.make_both([Parameter(w.detach().clone()) for w in module.theta()])
    try:
        step_once(optimizer, scheduler, checkpoint)
        for callback in callbacks:
            if not isinstance(callback, Configuration):  # whose changes are compared before
                saved = checkpoint.get("callbacks", {}).get(callback.state_key)
                check_alike(callback.state_key, fresh_state(callback), saved)
    except Exception as error:  # damaged values fail in many ways
        raise unusable(path, error) from error


def step_once(optimizer: Optimizer, scheduler: Any, checkpoint: dict[str, Any]) -> None:
    """Load the states, and take a step without a gradient. Of an optimiser with `capturable`, which steps on a GPU alone, they
    are loaded only."""
    on_gpu_alone = any(group.get("capturable") for group in optimizer.param_groups)
    for state in checkpoint.get("optimizer_states", [])[:1]:
        for fresh, saved in zip(optimizer.param_groups, state["param_groups"], strict=True):
            check_alike("param_groups", {name: value for name, value in fresh.items() if name != "params"}, saved)
        optimizer.load_state_dict(deepcopy(state))
    for state in checkpoint.get("lr_schedulers", [])[:1] if scheduler else []:
        scheduler.load_state_dict(deepcopy(state))
    if not on_gpu_alone:
        step_without_gradient(optimizer)
    if scheduler:
        scheduler.step()


def fresh_state(callback: Callback) -> Any:
    """The state of a callback that has seen nothing yet; None of one that needs a trainer to tell it."""
    try:
        return callback.state_dict()
    except (AttributeError, TypeError):  # of what `setup` makes; saving meets any other fault
        return None


def check_alike(name: str, fresh: Any, saved: Any) -> None:
    """Raise TypeError where a saved value is of another type than a fresh one: of numbers, texts, switches and dictionaries.
    A number may be a tensor."""
    if isinstance(fresh, dict) and isinstance(saved, dict):
        for key in fresh.keys() & saved.keys():
            check_alike(f"{name}.{key}", fresh[key], saved[key])
        return
    kind = next((kind for kind in (bool, (int, float), str, dict) if isinstance(fresh, kind)), object)
    if saved is None or (kind == (int, float) and isinstance(saved, Tensor) and saved.numel() == 1):
        return
    if not isinstance(saved, kind) or (kind is not object and isinstance(fresh, bool) != isinstance(saved, bool)):
        raise TypeError(f"{name} is {brief(saved)}")
