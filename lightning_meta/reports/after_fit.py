"""Print the results of `fit` and the next command."""

import os
import shlex
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger

from lightning_meta.config.merge import combine, split_argv
from lightning_meta.training.base import MetaModule
from lightning_meta.training.monitor import Cost
from lightning_meta.training.run_checkpoints import BestCheckpoint
from lightning_meta.training.run_folder import RunFolder
from lightning_meta.training.task_data import TaskData


def after_fit(trainer: Trainer, argv: list[str], folder: RunFolder | None) -> None:
    """Print where the results are and which command comes next. `argv` are the arguments of `fit`."""
    if not trainer.is_global_zero:
        return
    callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
    for callback in callbacks:
        if isinstance(callback, Cost) and trainer.state.finished:
            wall, cpu = callback.spent()
            print(f"took:       {wall / 60:.1f} min, {cpu / 60:.1f} min of CPU")
    if folder is None:
        return
    print(f"run:        {folder.path}")
    own = [path for path in (folder.best, folder.last) if path.is_file()]
    for callback in callbacks:
        if isinstance(callback, BestCheckpoint) and callback.best_model_score is not None and folder.best.is_file():
            print(f"best:       {best_score(float(callback.best_model_score), trainer, folder.best)}")
    others = (Path(callback.best_model_path) for callback in callbacks if isinstance(callback, ModelCheckpoint))
    beside = [
        path for path in dict.fromkeys(others) if path.is_file() and path.resolve() not in [p.resolve() for p in own]
    ]
    for path in [*own, *beside]:
        print(f"checkpoint: {path}")
    for logger in trainer.loggers:
        print(f"curves:     {curves(logger)}")
    if own:
        data = getattr(trainer, "datamodule", None)
        untold = isinstance(data, TaskData) and data.trains_on_validation
        print(f"next:       {next_command(argv, own[-1] if untold else own[0])}")


def best_score(error: float, trainer: Trainer, path: Path) -> str:
    """The best validation and where it was, such as: meta-validation accuracy 93.20 % at step 500."""
    checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    module = trainer.lightning_module
    judged = module.judged if isinstance(module, MetaModule) else None
    metric = judged.metric if judged else "error"
    if metric == "accuracy":
        score = f"accuracy {100 * (1 - error):.2f} %"
    else:
        score = f"{metric} {-error if metric in ('return', 'total') else error:.4g}"
    return f"meta-validation {score} at step {checkpoint['global_step']}, in epoch {checkpoint['epoch'] + 1}"


def curves(logger: Any) -> str:
    """Return the command or the place that shows the curves of a logger."""
    if isinstance(logger, TensorBoardLogger):
        return f"tensorboard --logdir {shlex.quote(os.path.normpath(logger.log_dir))}"
    if isinstance(logger, CSVLogger):
        return os.path.normpath(os.path.join(logger.log_dir, "metrics.csv"))
    return f"{type(logger).__name__}, {logger.name}"


def next_command(argv: list[str], checkpoint: Path) -> str:
    """The test of this very checkpoint, which runs in one process, wherever it is pasted."""
    rest = without(argv, "ckpt_path", "trainer.devices", "trainer.num_nodes", "trainer.strategy")
    configured, base = (combine(names)["trainer"] for names in (split_argv(argv)[0], []))
    alone = {"devices": "1", "num_nodes": "1", "strategy": "auto"}
    for key, value in alone.items():
        if configured.get(key) != base.get(key):
            rest += [f"--trainer.{key}", value]
    return f"lightning-meta test {shlex.join([*rest, '--ckpt_path', str(checkpoint)])}"


def without(argv: list[str], *keys: str) -> list[str]:
    """The arguments except some options and their values."""
    options, after = {f"--{key}" for key in keys}, ["", *argv]
    return [arg for arg, before in zip(argv, after, strict=False) if not options & {arg.split("=")[0], before}]
