"""A search under Ray Tune: started, or gone on with after its driver was killed."""

import logging
import math
import os
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import ray
from ray import tune
from ray.tune.error import TuneError
from ray.tune.schedulers import PopulationBasedTraining, TrialScheduler

from lightning_meta.core import InputError
from lightning_meta.search.algorithms import by_run, make_scheduler, make_searcher
from lightning_meta.search.options import Search
from lightning_meta.search.plan import Plan
from lightning_meta.search.progress import Narrator
from lightning_meta.search.space import Dimension
from lightning_meta.search.storage import Reserve, WholeFiles, filesystem, stored, trouble
from lightning_meta.search.trial import run_trial

ROOM, ROOM_OF_A_TRIAL = 2**20, 2**14  # bytes that the state of a search takes at most


def join_cluster(address: str | None) -> None:
    """Connect to the cluster at `address` (`auto`: the one of this machine), or at RAY_ADDRESS; else start a local one."""
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    os.environ |= {
        "RAY_AIR_NEW_OUTPUT": "0",  # Ray's own narration
        "RAY_CHDIR_TO_TRIAL_DIR": "0",
        "TUNE_DISABLE_SIGINT_HANDLER": "1",  # --resume continues an interrupted search
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",  # a trial sees the GPUs that it asked for
        "RAY_IGNORE_UNHANDLED_ERRORS": "1",  # of trials that nobody waits for any more
        "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    }
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    dashboard = None if address != "local" else False
    try:
        ray.init(address=address, include_dashboard=dashboard, logging_level=logging.ERROR, log_to_driver=False)
    except Exception as error:  # Ray raises it bare where its processes are not up in time
        if address == "local":
            raise InputError(f"no local Ray cluster starts: {error} On a machine this busy, try again later") from error
        raise InputError(
            f"no Ray cluster answers at {address}: {error}. `ray start --head` starts one; without --address a local one starts"
        ) from error


def check_room(options: Search) -> None:
    """InputError where no node of the cluster can hold a process of a trial. Tells of GPUs that the trials leave idle."""
    needs: dict[str, float] = {"CPU": options.cpus, "GPU": options.gpus}
    each, all_of_it = spoken(needs), spoken({name: options.workers * needs[name] for name in needs})
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if not any(all(node.get(name, 0) >= need for name, need in needs.items()) for node in nodes):
        has = "; ".join(map(spoken, nodes))
        raise InputError(
            f"a process of a trial needs {each}, and no node has that much ({has}): set search.cpus and search.gpus"
        )
    total = ray.cluster_resources()
    if any(total.get(name, 0) < need * options.workers for name, need in needs.items()):
        raise InputError(f"a trial of {options.workers} workers needs {all_of_it}; the cluster has {spoken(total)}")
    if total.get("GPU") and not options.gpus:
        print(
            f"the cluster has {total['GPU']:g} GPUs, and the trials use none: --search.gpus 1 gives each one, 0.5 a half"
        )


def spoken(resources: Mapping[str, float]) -> str:
    return f"{resources.get('CPU', 0):g} CPUs and {resources.get('GPU', 0):g} GPUs"


class Hopeless(tune.Stopper):
    """Stops a failed member of a population when all others have failed too or are at their end."""

    def __init__(self, trials: int, epochs: int):
        self.trials, self.epochs = trials, epochs
        self.failed: set[str] = set()
        self.ended: set[str] = set()

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        if result.get("failed"):
            self.failed.add(trial_id)
        else:
            self.failed.discard(trial_id)
            if result["epoch"] >= self.epochs:
                self.ended.add(trial_id)
        return trial_id in self.failed and len(self.failed | self.ended) >= self.trials

    def stop_all(self) -> bool:
        return False


class Job:
    """A search ready to start: its algorithms are made, its options found legal."""

    def __init__(self, options: Search, space: list[Dimension], plan: Plan, folder: Path):
        self.options, self.space, self.folder = options, space, folder
        self.storage, self.name = stored(options, folder)
        self.filesystem = filesystem(self.storage)
        epochs = plan.config["trainer"]["max_epochs"]
        self.scheduler: TrialScheduler = make_scheduler(options, space, epochs)
        self.searcher = make_searcher(options, space)
        self.by_run = by_run(type(self.searcher), space)
        self.population = isinstance(self.scheduler, PopulationBasedTraining)
        self.plan, self.epochs = plan._replace(population=self.population), epochs
        self.trials = options.trials * repeats(space)
        self.places = list(dict.fromkeys((f"{self.storage}/{self.name}", str(folder))))
        self.reserve = Reserve(self.places, ROOM + self.trials * ROOM_OF_A_TRIAL)

    def trainable(self) -> Any:
        each = {"CPU": self.options.cpus, **({"GPU": self.options.gpus} if self.options.gpus else {})}
        room = tune.PlacementGroupFactory([each] * self.options.workers)
        return tune.with_resources(tune.with_parameters(run_trial, plan=self.plan), room)

    def tuner(self) -> tune.Tuner:
        options = self.options
        one = options.objectives[0] if len(options.objectives) == 1 else None
        # Weights that a member of a population was given must still be there when it starts from them.
        keep = (
            {}
            if self.population
            else {
                "num_to_keep": 1,
                "checkpoint_score_attribute": "objective",  # what the report judges by
                "checkpoint_score_order": "min",
            }
        )
        return tune.Tuner(
            self.trainable(),
            param_space={} if self.by_run else {one.key: one.domain() for one in self.space},
            tune_config=tune.TuneConfig(
                metric=one,
                mode="min" if one else None,
                num_samples=options.trials,
                scheduler=self.scheduler,
                search_alg=self.searcher,
                max_concurrent_trials=options.concurrent,
                time_budget_s=options.hours and options.hours * 3600,
                reuse_actors=options.workers == 1,
                trial_name_creator=name,
                trial_dirname_creator=name,
            ),
            run_config=tune.RunConfig(
                name=self.name,
                storage_path=self.storage,
                storage_filesystem=self.filesystem,
                failure_config=tune.FailureConfig(max_failures=options.retries),
                checkpoint_config=tune.CheckpointConfig(**keep),
                callbacks=[Narrator(self.folder, self.space, options.objectives, self.epochs, self.reserve)],
                stop=Hopeless(self.trials, self.epochs),
                verbose=0,
            ),
        )

    def can_go_on(self) -> bool:
        """Return whether a stopped search has left the state that it can continue from."""
        return tune.Tuner.can_restore(f"{self.storage}/{self.name}", self.filesystem)

    def restored(self) -> tune.Tuner:
        path = f"{self.storage}/{self.name}"
        if not self.can_go_on():
            raise InputError(
                f"{path} holds no search that can continue: its driver ended before the first trial began. Start it again"
                " without --resume"
            )
        tuner = tune.Tuner.restore(
            path, self.trainable(), resume_unfinished=True, resume_errored=True, storage_filesystem=self.filesystem
        )
        try:
            tuner.get_results()
        except RuntimeError as error:  # Ray would begin anew, and without a space
            raise InputError(
                f"{path} holds a state that cannot be read, so that the search cannot continue. What it found is in"
                f" {self.folder}; start it again without --resume"
            ) from error
        return tuner

    def run(self, resume: bool) -> tune.ResultGrid:
        """Search to the end. Raise InputError if Ray cannot continue, as when the storage vanishes or fills."""
        random.seed(self.options.seed)  # Ray's population based training and its domains draw from these
        np.random.seed(self.options.seed)
        try:
            self.reserve.take()
            tuner = self.restored() if resume else self.tuner()
            results = tuner.fit()
            for _ in range(2):  # the state of a search that has ended names none of the checkpoints that were replaced
                WholeFiles.state_saved()
            return results
        except (OSError, EOFError, TuneError, ValueError) as error:  # of a lost experiment Ray says ValueError
            raise InputError(
                f"the search ended: {trouble(self.places) or error}. Its history so far is in {self.folder};"
                " the same command with --resume continues"
            ) from error
        finally:
            self.reserve.give_back()


def repeats(space: list[Dimension]) -> int:
    """Points of the grid, each of which is tried as often as the options say."""
    return math.prod(len(one.values) for one in space if one.kind == "grid")


def name(trial: Any) -> str:
    """trial_00003: numbered from 0 as they are made. Those of a searcher, which have random ids, Ray numbers from 1."""
    number, _, _ = trial.experiment_tag.partition("_")
    return f"trial_{int(number) - ('_' not in trial.trial_id):05d}"
