"""Conclude a search: report its trials, keep the best checkpoint and meta-test it once."""

import copy
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray import tune

from lightning_meta.core import InputError
from lightning_meta.core.files import whole, write_json
from lightning_meta.reports.results import Result
from lightning_meta.reports.tables import aligned
from lightning_meta.search import worker
from lightning_meta.search.pictures import picture
from lightning_meta.search.report import Row, choice, in_a_line, markdown, prune, rows, table, write_best
from lightning_meta.search.reporter import CHECKPOINT
from lightning_meta.search.run import Job
from lightning_meta.search.space import configured
from lightning_meta.training.run_folder import logger_attribute, loggers


@dataclass(frozen=True)
class SearchResult:
    """The result of a search.

    Attributes:
        folder: The folder of the search.
        chosen: In a sentence, which trial is the best of how many.
        trials: One row per trial, the best first.
        tested: The meta-test of the best, one result per number of shots that was validated at.
    """

    folder: Path
    chosen: str
    trials: tuple[Row, ...]
    tested: tuple[Result, ...]

    @property
    def checkpoint(self) -> Path:
        """The checkpoint of the best trial."""
        return self.folder / "best.ckpt"

    @property
    def configuration(self) -> Path:
        """The configuration of the best trial, as `fit --config` takes it."""
        return self.folder / "best.yaml"

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        trials, tested = [row._asdict() for row in self.trials], [one.to_json() for one in self.tested]
        return {"chosen": self.chosen, "trials": trials, "meta_test": tested}


def conclude(job: Job, grid: tune.ResultGrid, history: list[dict[str, Any]]) -> SearchResult:
    """Print and write the table, the picture and the winner, and test the winner once."""
    folder = job.folder
    errors = {Path(result.path).name: result.error and in_a_line(str(result.error)) for result in grid}
    found = rows(history, job.options.objectives, errors, job.plan.config["trainer"])
    if not found or found[0].objective is None:
        listed = "\n".join(f"  {row.trial}: {row.status}" for row in found)
        raise InputError(f"no trial came to a validation:\n{listed}")
    best = keep(job, found)
    kind = next(line for line in history if not line["failed"])["score"]["metric"]
    with whole(folder / "search.png") as aside:
        picture(history, job.space, found, job.options.objectives, aside)
    lines = table(found, job.space, kind, job.options.objectives)
    validations = sum(not line["failed"] for line in history)
    chosen = f"{choice(found, job.options.objectives)}; {validations} validations, all on the same episodes"
    print(f"{aligned(lines)}\n{chosen}", flush=True)
    tested = meta_test(job, best)
    shown = "\n\n".join(one.text() for one in tested)
    print(shown)
    result = SearchResult(folder, chosen, tuple(found), tuple(tested))
    write_json(folder / "search.json", result.to_json(), indent=1)
    with whole(folder / "search.md") as aside:
        aside.write_text(f"{chosen}.\n\n{markdown(lines)}\n\nThe winner, tested once:\n\n```\n{shown}\n```\n")
    if job.population and not job.options.storage:
        prune(folder, found)
    print(f"picture:    {folder / 'search.png'}\nbest:       {result.checkpoint}")
    print(f"next:       lightning-meta fit --config {result.configuration}")
    return result


def keep(job: Job, found: list[Row]) -> dict[str, Any]:
    """Write the winner's configuration and checkpoint into the search's folder; the configuration."""
    winner = found[0]
    best = configured(job.plan.config, job.space, winner.values)
    name_best(best["trainer"])
    with whole(job.folder / "best.yaml") as aside:
        write_best(aside, best, found, job.options.objectives)
    stored = tune.Checkpoint(f"{job.plan.folder}/{winner.trial}/{winner.checkpoint}")
    with stored.as_directory() as path, whole(job.folder / "best.ckpt") as aside:
        shutil.copyfile(Path(path, CHECKPOINT), aside)
    return best


def name_best(trainer: dict[str, Any]) -> None:
    """Name the runs of the winner's configuration after the search."""
    trainer["default_root_dir"] = f"{trainer.get('default_root_dir') or 'runs/run'}-best"
    for logger in loggers(trainer):
        if (name := logger_attribute(logger, "name")) is not None:
            logger["init_args"]["name"] = f"{name}-best"


def meta_test(job: Job, best: dict[str, Any]) -> list[Result]:
    """Test the winner on the cluster, with the room of a process of a trial: a result for each of `val_shots`."""
    config = copy.deepcopy(best)
    config["trainer"]["enable_progress_bar"] = False
    shots = config["data"].get("init_args", {}).get("val_shots")
    test = ray.remote(worker.test).options(num_cpus=job.options.cpus, num_gpus=job.options.gpus)
    return ray.get(test.remote(config, str(job.folder / "best.ckpt"), shots, os.getcwd()))
