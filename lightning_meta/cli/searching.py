"""A search, from its checks to its report."""

import os
import shlex
import sys
from pathlib import Path
from typing import Any

import yaml
from ray.tune.schedulers import PopulationBasedTraining

from lightning_meta.cli import trial
from lightning_meta.cli.checks import rehearse
from lightning_meta.cli.complaints import no_key
from lightning_meta.cli.outcome import conclude
from lightning_meta.cli.train import MetaCLI, parse
from lightning_meta.core import InputError, MetaRLLearner
from lightning_meta.core.files import whole
from lightning_meta.core.signals import StoppedError
from lightning_meta.search.algorithms import make_scheduler, make_searcher
from lightning_meta.search.options import Search
from lightning_meta.search.progress import read_history
from lightning_meta.search.run import Job, check_room, join_cluster
from lightning_meta.search.space import Dimension, dimension, full_key, leaves, settle
from lightning_meta.search.storage import stored
from lightning_meta.search.trial import Plan
from lightning_meta.training import MetaRL

OWN = ("search", "address", "resume", "ckpt_path", "config")  # keys that are not of a trial


def search(cli: MetaCLI, argv: list[str]) -> None:
    """Check all that can be known to fail, search, report."""
    config, options, space = checked(cli)
    folder = place(config, vars(options), cli.config.resume)
    plan = Plan(
        config,
        options.objectives,
        "/".join(stored(options, folder)),
        os.getcwd(),
        options.workers,
        options.cpus,
        options.gpus,
        False,
        trial.fit,
    )
    job = Job(options, space, plan, folder)
    resume = cli.config.resume or (bool(os.environ.get("LIGHTNING_META_RUN")) and job.can_go_on())
    join_cluster(cli.config.address)
    check_room(options)
    folder.mkdir(parents=True, exist_ok=True)
    with whole(folder / "search.yaml") as aside:
        aside.write_text(yaml.safe_dump({**config, "search": vars(options)}, sort_keys=False))
    print(f"search:     {folder}\ncurves:     tensorboard --logdir {plan.folder}", flush=True)
    try:
        grid = job.run(resume)
    except StoppedError:
        print(
            f"stopped; the same command with --resume goes on: lightning-meta tune {shlex.join(argv)}", file=sys.stderr
        )
        raise
    try:
        conclude(job, grid, read_history(folder))
    except OSError as error:
        raise InputError(
            f"the search is done, but its report could not be written: {error}; the same command with --resume writes it"
        ) from error


def checked(cli: MetaCLI) -> tuple[dict[str, Any], Search, list[Dimension]]:
    """Configuration, options and space of a search, all that can be known to fail tried."""
    options: Search = cli.config_init.search  # type: ignore[attr-defined]  # a namespace
    complete = yaml.safe_load(cli.parser.dump(cli.config, skip_none=False))
    config = {key: value for key, value in complete.items() if key not in OWN}
    space = dimensions(config, options)
    check_objectives(config, options, isinstance(cli.model, MetaRL))
    scheduler = make_scheduler(options, space, config["trainer"]["max_epochs"])
    make_searcher(options, space)
    try_corners(config, space, isinstance(scheduler, PopulationBasedTraining), options.workers)
    return config, options, space


def dimensions(config: dict[str, Any], options: Search) -> list[Dimension]:
    """The space, its keys as the configuration has them; InputError with the nearest legal names where it has not."""
    found = []
    for key, spec in options.space.items():
        full = full_key(config, key)
        if full is None:
            raise InputError(f"search.space: {no_key(key, leaves(config))}")
        found.append(dimension(full, spec))
    if not found:
        raise InputError("search.space is empty: give it a key of the configuration that varies")
    options.start = [{full_key(config, key) or key: value for key, value in point.items()} for point in options.start]
    return found


def check_objectives(config: dict[str, Any], options: Search, agent: bool) -> None:
    """InputError where an objective is nothing that a validation logs and that is to become small."""
    at = config["data"].get("init_args", {}).get("val_shots") or []
    of_examples = [] if agent else ["meta_val/loss", *(f"meta_val/shots/{k}/error" for k in at)]
    legal = ["meta_val/error", *of_examples]
    for name in options.objectives:
        if name not in legal:
            raise InputError(f"search.objective is {name}: choose from {', '.join(legal)}")


def try_corners(config: dict[str, Any], space: list[Dimension], population: bool, workers: int) -> None:
    """Rehearse a run at both ends of every range and at every choice. InputError where one does not fit, would be scored
    on other episodes than the rest or, in a population, has other weights."""
    kinds, shapes = set(), set()
    for one in space:
        for value in one.values:
            try:
                cli = parse("fit", settle(config, {one.key: value}), [])
                rehearse("fit", cli.model, cli.datamodule, cli.trainer, workers)
            except InputError as error:
                raise InputError(f"search.space: with {one.key} {value}: {error}") from error
            agent = isinstance(cli.model.learner, MetaRLLearner)
            kinds.add((getattr(cli.datamodule, "judged_on", None), agent and cli.model.learner.judged_on()))
            if len(kinds) > 1:
                raise InputError(
                    f"search.space: with {one.key} {value} a trial would be scored on other meta-validation tasks than the"
                    " rest: fix them, episodes by eval_ways, eval_shots, eval_queries or val_shots; an agent's by"
                    " test_updates, test_envs or test_episodes, or leave out what changes them"
                )
            shapes.add(tuple((name, w.shape) for name, w in cli.model.learner.state_dict().items()))
            if population and len(shapes) > 1:
                raise InputError(
                    f"search.space: {one.key} changes the weights, and the members of a population take over each other's:"
                    " leave it out, or search without one"
                )


def place(config: dict[str, Any], options: dict[str, Any], resume: bool) -> Path:
    """The folder of the search: a new one, or the newest of these configurations, which must be the same."""
    logger = config["trainer"].get("logger")
    args = logger["init_args"] if isinstance(logger, dict) else {"save_dir": "runs", "name": "run"}
    runs = Path(args["save_dir"], args["name"]).resolve()
    if job := os.environ.get("LIGHTNING_META_RUN"):  # a scheduler's, which starts a preempted search again
        return runs / job
    versions = sorted(
        int(path.name.removeprefix("version_")) for path in runs.glob("version_*") if path.name[8:].isdigit()
    )
    if not resume:
        return runs / f"version_{versions[-1] + 1 if versions else 0}"
    for version in reversed(versions):
        file = runs / f"version_{version}" / "search.yaml"
        if file.is_file():
            if yaml.safe_load(file.read_text()) != yaml.safe_load(yaml.safe_dump({**config, "search": options})):
                raise InputError(
                    f"--resume goes on with {file.parent}, but its configuration differs from this one: see {file}"
                )
            return file.parent
    raise InputError(f"--resume: no search below {runs}; start one without --resume")
