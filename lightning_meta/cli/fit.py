"""lightning-meta fit: meta-train; and the way of every command that runs a trainer: check, run, report."""

import shlex
import sys
import warnings
from typing import Any

from lightning_utilities.core.rank_zero import rank_zero_info

from lightning_meta.config.faults import misplaced_null, with_options
from lightning_meta.config.lightning_cli import LINKED, FitCLI, MetaCLI, parse
from lightning_meta.config.merge import combine, require, split_argv
from lightning_meta.core import InputError
from lightning_meta.core.signals import AGAIN
from lightning_meta.evaluation.rehearsal import rehearse
from lightning_meta.evaluation.results import result_of
from lightning_meta.evaluation.suite import evaluate_sizes, sizes_asked
from lightning_meta.reports.after_fit import after_fit, without
from lightning_meta.reports.result_files import check_result, keep_result
from lightning_meta.training.checkpoint import load_weights, origin, read, unlike
from lightning_meta.training.ending import leave_group, raised_by_one
from lightning_meta.training.evaluation import log_at
from lightning_meta.training.kept_states import check_states, unusable
from lightning_meta.training.measurements import VALIDATION
from lightning_meta.training.preemption import PreemptedError
from lightning_meta.training.quiet import quiet
from lightning_meta.training.resume import (
    Apply,
    check_outer,
    complete,
)
from lightning_meta.training.start import telling_further_processes
from lightning_meta.training.task_data import TaskData
from lightning_meta.training.trainer_checks import check_fit, check_trainer


def run(argv: list[str]) -> None:
    run_trainer("fit", argv)


def run_trainer(command: str, argv: list[str]) -> None:
    """Run fit, validate or test."""
    names, rest = split_argv(argv)
    config = combine(names)
    if not {"-h", "--help"} & set(rest):
        require(config, rest)
    sys.argv[1:] = [command, *argv]  # what Lightning starts further processes with
    with warnings.catch_warnings(), telling_further_processes():
        quiet()
        cli = parse(command, config, rest, FitCLI if command == "fit" else None)
        try:
            begin(command, cli, argv, with_options(config, rest))
            leave_group()
        except PreemptedError as stop:
            leave_group()
            if stop.saved and stop.code not in (0, AGAIN):
                print(
                    f"resume:     lightning-meta fit {shlex.join(without(argv, 'ckpt_path'))} --ckpt_path {stop.saved}"
                )
            raise
        except Exception as error:
            raise raised_by_one(error, cli.trainer) from error


def begin(command: str, cli: MetaCLI, argv: list[str], asked: dict[str, Any]) -> None:
    """Run. A folder that was made and stays empty goes again; further processes start from the same checkpoint."""
    if cli.ckpt_path:
        sys.argv[1:] = [command, *without(argv, "ckpt_path"), "--ckpt_path", cli.ckpt_path]
    try:
        if fault := misplaced_null(cli.parser, asked, LINKED):
            raise InputError(fault)
        execute(command, cli, argv)
    finally:
        if cli.folder:
            cli.folder.abandon()


def execute(command: str, cli: MetaCLI, argv: list[str]) -> None:
    """Check the checkpoint, run, report."""
    model, data, trainer = cli.model, cli.datamodule, cli.trainer
    check_trainer(cli.config.trainer.precision, trainer, model)
    sizes = sizes_asked(data, cli.config.ways, cli.config.shots) if command == "test" else []
    checkpoint, found = {}, None
    if cli.ckpt_path:
        checkpoint = read(cli.ckpt_path)
        load_weights(model.learner, checkpoint, cli.ckpt_path)
        if isinstance(data, TaskData):
            data.check_checkpoint(cli.ckpt_path, checkpoint)
        found = origin(cli.ckpt_path, checkpoint)
    elif command != "fit":
        raise InputError(f"{command} needs a checkpoint: --ckpt_path best, last or a file")
    if isinstance(cli, FitCLI):
        check_outer(model, cli.changes, checkpoint)
        if checkpoint:
            check_states(model, trainer.callbacks, checkpoint, cli.ckpt_path)  # type: ignore[attr-defined]
        rehearse(command, model, data, trainer)
        check_fit(trainer, model, data)
        train(cli, checkpoint)
        after_fit(trainer, argv, cli.folder)
        return
    assert found
    assert cli.folder
    for line in unlike(model.hparams["learner"], checkpoint):
        rank_zero_info(f"the checkpoint differs: {line}")
    if command == "test":
        evaluate_sizes(model, trainer, data, sizes, found, cli.folder.path)
        return
    if trainer.is_global_zero:
        check_result(cli.folder.path, VALIDATION, data, "val")
    rehearse(command, model, data, trainer)
    log_at(trainer, found.steps)
    trainer.validate(model, datamodule=data, verbose=False)  # theta is there
    if trainer.is_global_zero:
        result = result_of(model, VALIDATION, trainer, data, found)
        print(result.text())
        keep_result(cli.folder.path, result)


def train(cli: FitCLI, checkpoint: dict[str, Any]) -> None:
    """Train, unless the run is complete."""
    model, trainer = cli.model, cli.trainer
    parameters = sum(w.numel() for w in model.learner.parameters())
    rank_zero_info(f"{type(model.learner).__name__}, {parameters:,} parameters")
    say = print if trainer.is_global_zero else lambda _: None
    for change in cli.changes:
        say(f"changed: {change}")
    if limit := complete(checkpoint, trainer):
        say(
            f"this run is complete: {limit} is reached, and nothing is left to train. A larger one continues it; without"
            " --ckpt_path, or as a job of another name, a new run begins"
        )
        return
    trainer.callbacks.append(Apply(cli.changes))  # type: ignore[attr-defined]
    try:
        trainer.fit(model, datamodule=cli.datamodule, ckpt_path=cli.ckpt_path, weights_only=True)
    except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        if isinstance(error, InputError) or not trainer._checkpoint_connector._loaded_checkpoint:
            raise
        raise unusable(cli.ckpt_path, error) from error  # Lightning lets go of the checkpoint when all is restored
