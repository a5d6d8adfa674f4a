"""Continue a run from a checkpoint under another configuration."""

from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import nn

from lightning_meta.nn.build import build, find
from lightning_meta.training.trust import Trust


class TakeOver(Callback):
    """Lets the configuration win over the checkpoint, whose optimiser, schedule and learned rates would bring the values
    that it was trained with: what changed between the two takes effect with the next meta-batch. Nothing else changes."""

    def __init__(self) -> None:
        self.trained: dict[str, Any] = {}

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:  # noqa: ARG002
        self.trained = checkpoint.get("hyper_parameters", {})

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        own = dict(pl_module.hparams)
        if not self.trained:
            return
        for name, value in changed(self.trained.get("optimizer"), own.get("optimizer")).items():
            set_optimizer(trainer, name, value)
        for name, value in changed(self.trained.get("scheduler"), own.get("scheduler")).items():
            for config in trainer.lr_scheduler_configs:
                setattr(config.scheduler, name, value)
        if changed(self.trained.get("learner"), own.get("learner")):
            assert isinstance(pl_module.learner, nn.Module)
            set_learned(pl_module.learner, self.trained["learner"], own["learner"])


def changed(before: Any, now: Any) -> dict[str, Any]:
    """Arguments of a class that are other than before."""
    before, now = ((one or {}).get("init_args") or {} for one in (before, now))
    return {name: value for name, value in now.items() if before.get(name) != value}


def set_optimizer(trainer: Trainer, name: str, value: Any) -> None:
    """An argument of the optimiser. A learning rate keeps its place in the schedule."""
    for optimizer in trainer.optimizers:
        for group in optimizer.param_groups:
            if name == "lr" and "initial_lr" in group:
                group["lr"] *= value / group["initial_lr"]
                group["initial_lr"] = value
            elif name in group:
                group[name] = value
    if name == "lr":
        for config in trainer.lr_scheduler_configs:
            if hasattr(config.scheduler, "base_lrs"):
                config.scheduler.base_lrs = [value] * len(config.scheduler.base_lrs)


def set_learned(learner: nn.Module, before: dict[str, Any], now: dict[str, Any]) -> None:
    """Weights that an argument sets to begin with, such as a learned inner rate, by the factor between the two beginnings.

    `before` is a checkpoint's, which may name what `now`, the configuration, names, or what any checkpoint may.
    """
    starts, named = [], class_paths(now)
    for spec in (before, now):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            made = build(spec, lambda path: find(path) if path in named else Trust().find(path))
            starts.append(dict(made.named_parameters()))
    first, second = starts
    with torch.no_grad():
        for name, weight in learner.named_parameters():
            old, new = first.get(name), second[name]
            if old is not None and old.shape == new.shape and not torch.equal(old, new):
                factor = torch.where(old != 0, new / old, torch.ones_like(old))
                weight.mul_(factor.to(weight.device))


def class_paths(spec: Any) -> set[str]:
    """All that a configuration names, however deep."""
    if isinstance(spec, (list, tuple)):
        return set().union(*map(class_paths, spec))
    if not isinstance(spec, dict):
        return set()
    own = {spec["class_path"]} if isinstance(spec.get("class_path"), str) else set()
    return own.union(*map(class_paths, spec.values()))
