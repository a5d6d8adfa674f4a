"""The states that a checkpoint keeps beside theta, tried before a run goes on with them."""

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import torch
from pytorch_lightning import Callback
from torch.nn import Parameter

from lightning_meta.core import InputError
from lightning_meta.training.base import MetaModule
from lightning_meta.training.safeguards import Configuration
from lightning_meta.training.trust import brief


def unusable(path: Any, error: Exception) -> InputError:
    """What is said of a checkpoint whose states fail."""
    return InputError(
        f"{path} cannot be gone on from ({type(error).__name__}: {brief(error)}): its states are damaged, or of other settings"
        " than these. Without --ckpt_path a new training begins"
    )


def check_states(module: MetaModule, callbacks: Sequence[Callback], checkpoint: dict[str, Any], path: Any) -> None:
    """InputError where the states of the optimiser and its schedule fail at a step of copies of theta, or those of a
    callback are of other types than its own."""
    try:
        step_once(module, checkpoint)
        for callback in callbacks:
            if isinstance(callback, Configuration):
                continue  # whose changes are compared before
            check_alike(
                callback.state_key, fresh_state(callback), checkpoint.get("callbacks", {}).get(callback.state_key)
            )
    except Exception as error:  # damaged values fail in many ways
        raise unusable(path, error) from error


def step_once(module: MetaModule, checkpoint: dict[str, Any]) -> None:
    """Load the states, and take a step without a gradient."""
    theta = [Parameter(w.detach().clone()) for w in module.theta()]
    optimizer = module.make_optimizer(theta)
    scheduler: Any = module.make_scheduler(optimizer) if module.make_scheduler else None
    for state in checkpoint.get("optimizer_states", [])[:1]:
        for fresh, saved in zip(optimizer.param_groups, state["param_groups"], strict=True):
            check_alike("param_groups", {name: value for name, value in fresh.items() if name != "params"}, saved)
        optimizer.load_state_dict(deepcopy(state))
    for state in checkpoint.get("lr_schedulers", [])[:1] if scheduler else []:
        scheduler.load_state_dict(deepcopy(state))
    for w in theta:
        w.grad = torch.zeros_like(w)
    if not any(group.get("capturable") for group in optimizer.param_groups) or all(w.is_cuda for w in theta):
        optimizer.step(lambda: 0.0)
    if scheduler:
        scheduler.step()


def fresh_state(callback: Callback) -> Any:
    """The state of a callback that has seen nothing yet; None of one that cannot tell it so early."""
    try:
        return callback.state_dict()
    except Exception:
        return None


def check_alike(name: str, fresh: Any, saved: Any) -> None:
    """TypeError where a saved value is of another type than a fresh one: of numbers, texts, switches and dictionaries."""
    if isinstance(fresh, dict) and isinstance(saved, dict):
        for key in fresh.keys() & saved.keys():
            check_alike(f"{name}.{key}", fresh[key], saved[key])
    for kinds in (bool, (int, float), str, dict):
        if isinstance(fresh, kinds):
            number = kinds == (int, float)
            if saved is not None and (not isinstance(saved, kinds) or (number and isinstance(saved, bool))):
                if number and isinstance(saved, torch.Tensor) and saved.numel() == 1:
                    return
                raise TypeError(f"{name} is {brief(saved)}")
            return
