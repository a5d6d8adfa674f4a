"""One trial: a run of `fit` at some point of the space, reporting after every validation."""

import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from ray import tune
from ray.exceptions import RayError

from lightning_meta.core import InputError
from lightning_meta.search.plan import Plan, train
from lightning_meta.search.reporter import CHECKPOINT, Reporter
from lightning_meta.search.space import configured, existing
from lightning_meta.search.storage import in_place, is_local
from lightning_meta.search.trial_processes import Ranks
from lightning_meta.training.run_folder import RunFolder, loggers, place

WORST = 1e9  # what a failed trial reports: schedulers and searchers need a finite number
SILENT = {"enable_progress_bar": False, "enable_checkpointing": False}
UNWANTED = ("ModelCheckpoint", "RunSummary", "Preemption")  # Ray keeps checkpoints and stops trials; HParams come first


def run_trial(values: dict[str, Any], plan: Plan) -> None:
    """Train at these values, from the trial's checkpoint if it has one. A failure that would come again ends the trial with
    its reason in the last report; one of a worker or node passes, and Ray continues from the checkpoint."""
    config = trial_config(values, plan, tune.get_context().get_trial_name())
    checkpoint = in_place(tune.get_checkpoint())
    try:
        with ExitStack() as stack:
            ranks = stack.enter_context(Ranks(plan, config, checkpoint)) if plan.workers > 1 else None
            path = Path(stack.enter_context(checkpoint.as_directory()), CHECKPOINT) if checkpoint else None
            reporter = Reporter(plan.objectives, existing(plan.space, values), tune.report)
            try:
                train(plan, config if ranks is None else ranks.config(0), [reporter], path)
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
    config = configured(plan.config, plan.space, values)
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
