"""Runs of `fit` and `test` inside the workers of a search."""

import os
import warnings
from typing import Any

from pytorch_lightning import Callback

from lightning_meta.config.lightning_cli import MetaCLI, parse
from lightning_meta.core.allocator import keep_freed_memory
from lightning_meta.evaluation.suite import evaluate_sizes, sizes_asked
from lightning_meta.reports.results import Result
from lightning_meta.training.checkpoint import load_weights, origin, read
from lightning_meta.training.ending import leave_group
from lightning_meta.training.preemption import Preemption
from lightning_meta.training.quiet import LIGHTNING, only_errors, quiet
from lightning_meta.training.trainer_checks import check_trainer


def fit(config: dict[str, Any], callbacks: list[Callback], ckpt: str | None) -> None:
    """Run a complete configuration with more callbacks, from a checkpoint if one is given."""
    with warnings.catch_warnings(), only_errors(*LIGHTNING):
        cli = prepared("fit", config, ckpt)
        trainer = cli.trainer
        own: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
        kept = [one for one in own if not isinstance(one, Preemption)]  # Ray stops trials
        trainer.callbacks = kept + callbacks  # type: ignore[attr-defined]
        check_trainer(cli.config.trainer.precision, trainer, cli.model)
        try:
            trainer.fit(cli.model, datamodule=cli.datamodule, ckpt_path=cli.ckpt_path, weights_only=True)
        finally:
            leave_group()  # so that no other of it waits for this one


def test(config: dict[str, Any], ckpt: str, shots: list[int] | None, cwd: str) -> list[Result]:
    """Meta-test a checkpoint and return one result per entry of `shots`. Relative paths are resolved against `cwd`."""
    if os.path.isdir(cwd):
        os.chdir(cwd)
    with warnings.catch_warnings(), only_errors(*LIGHTNING):
        cli = prepared("test", config, ckpt)
        checkpoint = read(ckpt)
        load_weights(cli.model.learner, checkpoint, ckpt)
        sizes = sizes_asked(cli.datamodule, None, shots)
        assert cli.folder
        made = origin(ckpt, checkpoint)
        return evaluate_sizes(cli.model, cli.trainer, cli.datamodule, sizes, made, cli.folder.path)


def prepared(command: str, config: dict[str, Any], ckpt: str | None) -> MetaCLI:
    keep_freed_memory()
    quiet()
    return parse(command, config, ["--ckpt_path", ckpt] if ckpt else [])
