"""One trial: a run of `fit` at some point of the space, reporting after every validation."""

import math
import os
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.loggers import TensorBoardLogger
from ray import tune
from ray.exceptions import RayError
from torch.utils.tensorboard.summary import hparams

from lightning_meta.core import InputError
from lightning_meta.search.ranks import Ranks
from lightning_meta.search.space import settle, short_names
from lightning_meta.search.storage import in_place, is_local
from lightning_meta.search.takeover import TakeOver
from lightning_meta.training.finite import diverged
from lightning_meta.training.run_folder import RunFolder, loggers, place

CHECKPOINT = "trial.ckpt"
WORST = 1e9  # what a failed trial reports: schedulers and searchers need a finite number
SILENT = {"enable_progress_bar": False, "enable_checkpointing": False}
UNWANTED = ("ModelCheckpoint", "RunSummary", "Preemption")  # Ray keeps checkpoints and stops trials; HParams come first

Fit = Callable[[dict[str, Any], list[Callback], str | None], None]


class Plan(NamedTuple):
    """What all trials of a search share. It travels to their workers."""

    config: dict[str, Any]  # complete; a trial's values go over it
    objectives: list[str]
    folder: str  # of the search: the curves of a trial go below it
    cwd: str  # relative paths of the configuration are meant from here
    workers: int
    cpus: float
    gpus: float
    population: bool  # whether a scheduler may give a trial another's weights
    fit: Fit  # runs a configuration with more callbacks from a checkpoint


def run_trial(values: dict[str, Any], plan: Plan) -> None:
    """Train at these values, from the trial's checkpoint if it has one. A failure that would come again ends the trial with
    its reason in the last report; one of a worker or node passes, and Ray goes on from the checkpoint."""
    config = trial_config(values, plan, tune.get_context().get_trial_name())
    checkpoint = in_place(tune.get_checkpoint())
    try:
        with ExitStack() as stack:
            ranks = stack.enter_context(Ranks(plan, config, checkpoint)) if plan.workers > 1 else None
            path = Path(stack.enter_context(checkpoint.as_directory()), CHECKPOINT) if checkpoint else None
            reporter = Reporter(plan.objectives, values, tune.report)
            try:
                run(plan, config if ranks is None else ranks.config(0), [reporter], path)
            except Exception as error:
                raise (ranks and ranks.cause()) or error from None
    except (RayError, OSError):
        raise
    except InputError as error:
        reason = str(error).splitlines()[0]
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
    else:
        return
    fail(plan, reason)  # out there nothing holds the memory of the run any more


def run(plan: Plan, config: dict[str, Any], callbacks: list[Callback], path: Path | None) -> None:
    """`fit`, from the folder that the search was started in, where there is one."""
    if os.path.isdir(plan.cwd):
        os.chdir(plan.cwd)
    plan.fit(config, [TakeOver(), *callbacks], str(path) if path else None)


def fail(plan: Plan, reason: str) -> None:
    """Report the worst score. A member of a population waits for the scheduler to give it the weights of a better one, or
    to stop it when none is left that could."""
    report, wait = {**dict.fromkeys(plan.objectives, WORST), "failed": reason}, 1.0
    tune.report(report)
    while plan.population:
        time.sleep(wait)
        wait = min(2 * wait, 30.0)
        tune.report(report)


def trial_config(values: dict[str, Any], plan: Plan, name: str) -> dict[str, Any]:
    """The trial's configuration: quiet, its curves in a folder of its own, its checkpoints left to Ray."""
    config = settle(plan.config, values)
    trainer = config["trainer"] | SILENT
    wanted = [one for one in trainer.get("callbacks") or [] if not one["class_path"].endswith(UNWANTED)]
    trainer["callbacks"] = wanted
    if is_local(plan.folder):
        place(trainer, RunFolder(Path(plan.folder, name)))
    else:
        for logger in loggers(trainer):
            if "save_dir" in logger["init_args"]:
                logger["init_args"] |= {"save_dir": plan.folder, "name": name, "version": ""}
    return {**config, "trainer": trainer}


class Reporter(Callback):
    """Reports what a validation found, with a checkpoint from which the trial goes on exactly.

    `report` is ray.tune.report, or None in processes that only take part. Raises Diverged where an objective is no number.
    """

    def __init__(self, objectives: list[str], values: dict[str, Any], report: Callable[..., None] | None):
        self.objectives, self.values, self.report, self.validated = objectives, values, report, False

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002  Lightning's signature
        if self.report and isinstance(trainer.logger, TensorBoardLogger):
            names = short_names(list(self.values))
            shown = {names[key]: v if isinstance(v, (int, float)) else str(v) for key, v in self.values.items()}
            for summary in hparams(shown, dict.fromkeys(self.objectives)):
                trainer.logger.experiment.file_writer.add_summary(summary)  # type: ignore[union-attr]

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        self.validated = not trainer.sanity_checking

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        if not self.validated:
            return
        self.validated = False
        found = {name: float(value) for name, value in trainer.callback_metrics.items()}
        for name in self.objectives:
            found[name] = objective(found, name)
            if not math.isfinite(found[name]):  # Ray compares numbers
                raise diverged(trainer, name, found[name], trainer.global_step)
        found["objective"] = sum(found[name] for name in self.objectives) / len(self.objectives)
        found |= {"epoch": trainer.current_epoch + 1, "step": trainer.global_step}
        with tempfile.TemporaryDirectory() as folder:
            trainer.save_checkpoint(Path(folder, CHECKPOINT))  # every process takes part
            if self.report:
                self.report(found, checkpoint=tune.Checkpoint.from_directory(folder))


def objective(found: dict[str, float], name: str) -> float:
    """What validation logged by this name; the error at some shots, of which it logs the score."""
    if name in found:
        return found[name]
    score = found[name.removesuffix("/error")]
    return 1 - score if "meta_val/accuracy" in found else score
