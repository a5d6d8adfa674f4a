"""Checks of the trainer's settings, callbacks and schedules for what would fail later."""

import copy
import math
import os
import re
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, LightningDataModule, Trainer
from pytorch_lightning.callbacks import (
    BackboneFinetuning,
    BaseFinetuning,
    BatchSizeFinder,
    LearningRateFinder,
    ModelPruning,
)
from torch.nn import Parameter
from torch.optim.lr_scheduler import OneCycleLR

from lightning_meta.core import Episode, InputError
from lightning_meta.training.base import MetaModule
from lightning_meta.training.evaluation import score_name
from lightning_meta.training.meta_rl import MetaRL
from lightning_meta.training.task_data import TaskData
from lightning_meta.training.trust import brief

OPEN = (
    r"meta_(train|val)/.+/.+|meta_train/.+|theta/.+|lr-.+|speed/.+"  # names that depend on the learner, or on logging
)
TRIED = 10_000  # steps of a schedule, of which no more are tried: some hundredths of a second
ROUNDING = 1e-6  # of a cosine that is computed from step to step, as a share of the first rate
LEAST = {  # the least of what Lightning takes without a word
    "gradient_clip_val": 0,
    "accumulate_grad_batches": 1,
    "check_val_every_n_epoch": 1,
    "min_epochs": 0,
    "log_every_n_steps": 0,
    "num_sanity_val_steps": -1,
}


def check_fit(trainer: Trainer, model: MetaModule, data: LightningDataModule) -> None:
    """InputError where a fit would end in its midst for its trainer's sake, or be of no use."""
    check_places(trainer)
    check_numbers(trainer)
    check_step(model)
    check_callbacks(trainer, model)
    if isinstance(data, TaskData):
        check_schedule(trainer, model, data)
        check_monitors(trainer, logged(data))


def check_places(trainer: Trainer) -> None:
    """InputError where a folder that the run would make cannot be made."""
    places = [logger.save_dir for logger in trainer.loggers] or [trainer.default_root_dir]
    for place in map(Path, filter(None, places)):
        if "://" in str(place):
            continue
        there = next(path for path in (place.absolute(), *place.absolute().parents) if path.exists())
        if not there.is_dir():
            raise InputError(f"cannot write {place}: {there} is a file: choose another folder")
        if not os.access(there, os.W_OK):
            raise InputError(f"cannot write {place}: choose a folder that can be written to")


def check_numbers(trainer: Trainer) -> None:
    """InputError where a number is none that a trainer can use, though Lightning takes it."""
    for name, least in LEAST.items():
        value = getattr(trainer, name)
        if value is not None and not value >= least:
            raise InputError(f"trainer.{name} is {value}: give {least} or more")
    for name in ("limit_train_batches", "val_check_interval"):
        if getattr(trainer, name) == 0:
            raise InputError(f"trainer.{name} is 0: give 1 or more, or a share between 0 and 1")
    if trainer.min_epochs and trainer.max_epochs not in (None, -1) and trainer.min_epochs > trainer.max_epochs:
        raise InputError(
            f"trainer.min_epochs is {trainer.min_epochs}, and trainer.max_epochs {trainer.max_epochs}: lower it"
        )


def check_step(model: MetaModule) -> None:
    """InputError where the outer optimiser cannot step: tried without a gradient, on a copy of theta."""
    model.make_tried([Parameter(w.detach().clone()) for w in model.theta()])


def check_schedule(trainer: Trainer, model: MetaModule, data: TaskData) -> None:
    """Raise InputError where the first validation would come after the end of an epoch, or where the schedule of the outer
    learning rate fails, is shorter than the training, or gives an invalid rate."""
    every = trainer.val_check_interval
    if isinstance(every, int) and trainer.check_val_every_n_epoch and every > batches(trainer, data):
        raise InputError(
            f"trainer.val_check_interval is {every}, but an epoch has {batches(trainer, data)} meta-batches: give no more, or"
            " set trainer.check_val_every_n_epoch to null"
        )
    _, schedule = model.make_both()
    steps = planned_steps(trainer, data)
    if isinstance(schedule, OneCycleLR) and schedule.total_steps < steps:
        raise InputError(
            f"the schedule OneCycleLR has {schedule.total_steps} steps, but training takes {steps:g}: set its total_steps to"
            " that"
        )
    if schedule is not None:
        try_schedule(model, int(min(steps, TRIED)))


def try_schedule(model: MetaModule, steps: int) -> None:
    """Raise InputError if the schedule fails within this number of steps, or makes a learning rate negative or not finite."""
    optimizer, schedule = model.make_tried([Parameter(torch.zeros(2, 2))])
    name = type(schedule).__name__
    first = [float(group.get("lr", 0)) for group in optimizer.param_groups]
    for step in range(steps + 1):
        for begun, rate in zip(first, (float(group.get("lr", 0)) for group in optimizer.param_groups), strict=True):
            if not -ROUNDING * begun <= rate < math.inf:
                raise InputError(
                    f"the schedule {name} makes the outer learning rate {rate:g} after {step} step(s): give it arguments by"
                    " which that stays a number of 0 or more"
                )
        try:
            schedule.step()
        except Exception as error:  # of arithmetic, or of a schedule of the user's: any
            raise InputError(
                f"the schedule {name} fails at step {step + 1} with {type(error).__name__}: {brief(error)}: give it other"
                " arguments"
            ) from error


def planned_steps(trainer: Trainer, data: TaskData) -> float:
    """The optimiser's steps in the whole training, if it is limited by their number."""
    epochs = math.inf if trainer.max_epochs in (None, -1) else trainer.max_epochs
    steps = epochs * math.ceil(batches(trainer, data) / trainer.accumulate_grad_batches)
    return float(steps if trainer.max_steps < 0 else min(steps, trainer.max_steps))


def batches(trainer: Trainer, data: TaskData) -> int:
    """Meta-batches of an epoch."""
    whole, limit = len(data.streams("train")[0]), trainer.limit_train_batches
    return min(limit, whole) if isinstance(limit, int) else int((1 if limit is None else limit) * whole)


def logged(data: TaskData) -> list[str]:
    """Names that every training on these tasks logs."""
    batch = next(data.samples("val"))
    kinds = ["loss", score_name(batch)] if isinstance(batch, Episode) else ["return", "total"]
    means = [f"meta_val/{kind}" for kind in kinds]
    return [*means, *(f"{name}_ci95" for name in means), "meta_val/error", *(f"meta_train/{kind}" for kind in kinds)]


def check_callbacks(trainer: Trainer, model: MetaModule) -> None:
    """InputError for callbacks of Lightning's that look for an attribute which no learner has, or change weights in a way that
    an inner loop over all tasks at once does not follow."""
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    for one in callbacks:
        if isinstance(one, LearningRateFinder | BatchSizeFinder):
            raise InputError(
                f"{type(one).__name__} finds nothing to set here: search over model.optimizer.init_args.lr or data.meta_batch"
                " with `lightning-meta tune`"
            )
        if (
            isinstance(one, ModelPruning)
            and getattr(getattr(model.learner, "network", None), "vectorize", "loop") != "loop"
        ):
            raise InputError(
                "ModelPruning changes weights beneath the inner loop, which takes all tasks at once: set"
                " --model.learner.init_args.vectorize loop"
            )
        if isinstance(one, BaseFinetuning):
            try_freezing(one, model)


def try_freezing(callback: BaseFinetuning, model: MetaModule) -> None:
    """InputError where a callback that freezes looks for weights which the module does not have; tried on a copy of it."""
    try:
        if isinstance(callback, BackboneFinetuning) and not hasattr(model, "backbone"):
            raise AttributeError("the module has no attribute 'backbone'")
        callback.freeze_before_training(copy.deepcopy(model))
    except AttributeError as error:
        raise InputError(
            f"{type(callback).__name__} does not find what it would freeze ({brief(error)}): weights are below"
            " pl_module.learner here. Leave it out, or freeze by a BaseFinetuning of your own that looks there"
        ) from error


def check_monitors(trainer: Trainer, names: list[str]) -> None:
    """InputError where a callback waits for a score that is not logged. A callback of the user's may log more."""
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    if any(not type(one).__module__.startswith(("pytorch_lightning.", "lightning_meta.")) for one in callbacks):
        return
    for one in callbacks:
        name: Any = getattr(one, "monitor", None)
        if isinstance(name, str) and name not in names and not re.fullmatch(OPEN, name):
            raise InputError(
                f"{type(one).__name__} monitors {name!r}, which is not logged: choose from {', '.join(names)}, or a curve below"
                " meta_val/ or meta_train/"
            )


def check_trainer(precision: str | int | None, trainer: Trainer, model: MetaModule) -> None:
    """On a CPU, Lightning makes bfloat16 of 16-mixed; 16-true gives nan. An agent steps its optimiser itself."""
    half = str(precision).startswith("16")
    if half and trainer.strategy.root_device.type == "cpu":
        raise InputError(f"precision {precision} needs a GPU, and this run is on a CPU: choose 32 or bf16-mixed")
    if not isinstance(model, MetaRL):
        return
    if half:
        raise InputError(
            f"precision {precision} needs its losses scaled, which an agent that takes gradients itself does not: choose 32"
            " or bf16-mixed"
        )
    if precision == "bf16-true":
        raise InputError("precision bf16-true leaves an agent 3 digits of what it perceives: choose 32 or bf16-mixed")
    if model.learner.own_outer_step and str(precision).startswith("bf16"):
        raise InputError(
            f"precision {precision} is too coarse for the conjugate gradients by which {type(model.learner).__name__} finds"
            " its outer step: choose 32"
        )
    if trainer.gradient_clip_val is not None:
        raise InputError(
            "an agent steps its optimiser itself: give model.clip in the place of trainer.gradient_clip_val"
        )
    if trainer.accumulate_grad_batches > 1:
        raise InputError("an agent steps with every meta-batch: enlarge data.meta_batch, not accumulate_grad_batches")
