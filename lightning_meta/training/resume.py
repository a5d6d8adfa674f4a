"""Resume a run: find what its configuration changes, which changes can be applied, and which cannot."""

import re
from pathlib import Path
from typing import Any, NamedTuple

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch.nn import Parameter

from lightning_meta.core import InputError
from lightning_meta.training.base import MetaModule
from lightning_meta.training.start import Start

# Of the trainer, what decides which meta-batches a step sees and how it computes. The rest (length, validation, logging,
# devices) may change.
TRAINER = (
    "precision",
    "accumulate_grad_batches",
    "limit_train_batches",
    "overfit_batches",
    "sync_batchnorm",
    "plugins",
)
# Of the data and the model, what changes no step of training and no validation.
DATA = ("num_workers", "look_ahead", "test_episodes", "test_tasks", "on_error")
MODEL = ("clip", "vectorize", "recompute")
OUTER = ("model.optimizer.", "model.scheduler.")  # arguments of the optimiser and the schedule, which are applied
NOT_OF_TRAINING = ("ckpt_path", "config", "ways", "shots")


class Change(NamedTuple):
    """A changed setting of a resumed run; `key` is dotted, without class_path and init_args."""

    key: str
    now: Any
    before: Any

    def __str__(self) -> str:
        if isinstance(self.now, list) and any(isinstance(one, dict) for one in self.now):
            return f"{self.key} is another list than before"
        return f"{self.key} is {shown(self.now)}, was {shown(self.before)}"

    @property
    def is_free(self) -> bool:
        """It takes effect by itself and changes no result of training."""
        part, _, rest = self.key.partition(".")
        if part == "trainer":
            return rest.split(".")[0] not in TRAINER
        name = rest.rpartition(".")[2]
        if re.fullmatch(r"data\.(root|sources\.[^.]+\.root)", self.key):
            return same_set(self.now, self.before)
        return name in (DATA if part == "data" else MODEL)

    @property
    def is_outer(self) -> bool:
        """It is an argument of the outer optimiser or its schedule, whose classes are as before."""
        return self.key.startswith(OUTER)


def shown(value: Any) -> str:
    """A value in a line; of a class, its name."""
    if isinstance(value, dict) and isinstance(value.get("class_path"), str):
        return value["class_path"].rpartition(".")[2]
    return "not given" if value is None else repr(value) if isinstance(value, str) else str(value)


def same_set(now: Any, before: Any) -> bool:
    """Shard sets of one name are the same, wherever they lie."""
    return isinstance(now, str) and isinstance(before, str) and Path(now).name == Path(before).name


def changes(now: Any, before: Any, key: str = "", named: bool = True) -> list[Change]:
    """The settings that differ between two configurations. Where a class does, its arguments are passed over. Of `named`
    arguments, those that both configurations have; a dictionary that is an argument's value differs by a key, too."""
    if not (isinstance(now, dict) and isinstance(before, dict)):
        return [] if now == before else [Change(key, now, before)]
    if now.get("class_path") != before.get("class_path"):
        return [Change(key, now, before)]
    found = []
    is_class = "class_path" in now
    empty = {} if is_class else None  # in the place of a key that one of them has not
    for name in now.keys() & before.keys() if named and not is_class else now.keys() | before.keys():
        inner = key if name == "init_args" else f"{key}.{name}".strip(".")
        if key or name not in NOT_OF_TRAINING:
            arguments = not key or (is_class and name == "init_args")
            found += changes(now.get(name, empty), before.get(name, empty), inner, named=arguments)
    return sorted(found, key=lambda change: change.key)


def configuration_of(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """The configuration that a checkpoint was trained with: the whole, or, of one that no `fit` wrote, model and data."""
    if whole := part(checkpoint, "callbacks", "Configuration"):
        return whole
    model = dict(part(checkpoint, "hyper_parameters"))
    return {"data": model.pop("data", None), "model": model} if "learner" in model else {}


def part(checkpoint: dict[str, Any], *keys: str) -> dict[str, Any]:
    """A dictionary within a checkpoint, empty where there is none."""
    for key in keys:
        found = checkpoint.get(key)
        checkpoint = found if isinstance(found, dict) else {}
    return checkpoint


def check_changes(found: list[Change], start: Start) -> None:
    """InputError where a run cannot continue with these changes: those that are neither free nor, where the user asked to go
    on, the outer optimiser's. A scheduler that starts a job again did not ask."""
    asked = start.asked
    for change in found:
        if asked and change.key == "model.learner":
            raise InputError(
                f"{start.checkpoint} is of another learner, {shown(change.before)}, than {shown(change.now)} as configured:"
                " use the configuration that it was trained with"
            )
    refused = [str(change) for change in found if not (change.is_free or (asked and change.is_outer))]
    if refused and asked:
        raise InputError(
            f"the checkpoint was trained with other settings, and cannot continue with these: {'; '.join(refused)}. Leave"
            " --ckpt_path out to start a new run, or give the settings that it was trained with"
        )
    if refused:
        raise InputError(
            f"{start.folder and start.folder.path} holds a run of another configuration: {'; '.join(refused)}."
            " Give this job a name of its own, or the configuration of that run"
        )


def check_outer(module: MetaModule, found: list[Change], checkpoint: dict[str, Any]) -> None:
    """InputError where a changed argument of the optimiser needs what the checkpoint's has not gathered, such as the
    moments of amsgrad, or is none that can change."""
    names = [change.key.rpartition(".")[2] for change in found if change.key.startswith("model.optimizer.")]
    if not names:
        return
    weight = Parameter(torch.zeros(2, 2))
    optimizer, _ = module.make_tried([weight])
    states = [s for one in checkpoint.get("optimizer_states", []) for s in one["state"].values()]
    missing = {key for state in states for key in optimizer.state[weight].keys() - state.keys()}
    fixed = [name for name in names if name not in optimizer.param_groups[0]]
    if missing or fixed:
        reason = f"which keeps {', '.join(sorted(missing))}" if missing else f"whose {', '.join(fixed)} cannot change"
        raise InputError(
            f"the checkpoint's optimiser cannot continue as {type(optimizer).__name__} with other {', '.join(names)},"
            f" {reason}: leave --ckpt_path out to start a new run"
        )


class Apply(Callback):
    """Lets changed arguments of the outer optimiser and its schedule win over those in the checkpoint. The outer learning
    rate is then, at each step, that of a run which had these arguments from its start."""

    def __init__(self, found: list[Change]):
        self.names = [change.key.rpartition(".")[2] for change in found if change.key.startswith("model.optimizer.")]
        self.reschedule = "lr" in self.names or any(change.key.startswith("model.scheduler.") for change in found)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, MetaModule)
        for optimizer in trainer.optimizers:
            fresh = pl_module.make_optimizer([Parameter(torch.zeros(2, 2))])
            for group in optimizer.param_groups:
                group.update({name: fresh.param_groups[0][name] for name in self.names})
        if self.reschedule and pl_module.make_scheduler:
            for config in trainer.lr_scheduler_configs:
                reschedule(pl_module, config.scheduler)


def reschedule(module: MetaModule, scheduler: Any) -> None:
    """Bring a schedule, and what it sets in its optimiser, to where the module's own would be after as many steps."""
    assert module.make_scheduler
    optimizer = module.make_optimizer([Parameter(torch.zeros(2, 2))])
    fresh: Any = module.make_scheduler(optimizer)
    for _ in range(scheduler.last_epoch):
        optimizer.step()
        fresh.step()
    scheduler.load_state_dict(fresh.state_dict())
    for group in scheduler.optimizer.param_groups:
        group.update({name: value for name, value in optimizer.param_groups[0].items() if name != "params"})


def complete(checkpoint: dict[str, Any], trainer: Trainer) -> str | None:
    """The limit that a run has reached already, None where there is more to train."""
    progress = part(checkpoint, "loops", "fit_loop", "epoch_progress", "current")
    if trainer.max_epochs is not None and 0 <= trainer.max_epochs <= progress.get("processed", 0):
        return f"max_epochs {trainer.max_epochs}"
    if 0 <= trainer.max_steps <= checkpoint.get("global_step", 0):
        return f"max_steps {trainer.max_steps}"
    return None
