"""A search, from its checks to its report."""

import os
import shlex
import sys
from itertools import product
from pathlib import Path
from typing import Any

import yaml
from ray.tune.schedulers import PopulationBasedTraining

from lightning_meta.config.lightning_cli import MetaCLI, parse
from lightning_meta.config.names import no_key
from lightning_meta.core import InputError, MetaRLLearner
from lightning_meta.core.files import whole
from lightning_meta.core.signals import StoppedError
from lightning_meta.evaluation.rehearsal import rehearse
from lightning_meta.search.algorithms import make_scheduler, make_searcher
from lightning_meta.search.choices import bare, opened, shared
from lightning_meta.search.conclude import SearchResult, conclude
from lightning_meta.search.options import Search
from lightning_meta.search.plan import Plan
from lightning_meta.search.progress import read_history
from lightning_meta.search.run import Job, check_room, join_cluster
from lightning_meta.search.space import Dimension, configured, dimension, exists, full_key, leaves
from lightning_meta.search.storage import stored
from lightning_meta.training import MetaRL
from lightning_meta.training.resume import changes
from lightning_meta.training.run_folder import RunFolder, claim, home, versions
from lightning_meta.training.task_data import TaskData
from lightning_meta.training.trainer_checks import check_schedule

OWN = ("search", "address", "resume", "ckpt_path", "config")  # keys that are not of a trial


def search(cli: MetaCLI, argv: list[str]) -> SearchResult:
    """Check all that can be known to fail, search, report."""
    config, options, space = checked(cli)
    place = home(config["trainer"]).resolve()
    earlier = gone_on_with(place, config, vars(options)) if cli.config.resume else None
    join_cluster(cli.config.address)
    check_room(options)
    folder = earlier or claimed(place, config, vars(options))
    plan = Plan(
        config,
        space,
        options.objectives,
        "/".join(stored(options, folder)),
        os.getcwd(),
        options.workers,
        options.cpus,
        options.gpus,
        False,
    )
    job = Job(options, space, plan, folder)
    resume = cli.config.resume or (bool(os.environ.get("LIGHTNING_META_RUN")) and job.can_go_on())
    with whole(folder / "search.yaml") as aside:
        aside.write_text(yaml.safe_dump({**config, "search": vars(options)}, sort_keys=False))
    print(f"search:     {folder}\ncurves:     tensorboard --logdir {plan.folder}", flush=True)
    try:
        grid = job.run(resume)
    except StoppedError:
        print(
            f"stopped; the same command with --resume continues: lightning-meta tune {shlex.join(argv)}",
            file=sys.stderr,
        )
        raise
    try:
        return conclude(job, grid, read_history(folder))
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
    """The space, its keys as the configuration has them, each after the choice that it depends on; InputError with the
    nearest legal names where it has not."""
    found: list[Dimension] = []

    def depth(item: tuple[str, Any]) -> int:
        return sum(bare(item[0]).startswith(bare(other) + ".") for other in options.space)

    for key, spec in sorted(options.space.items(), key=depth):
        above = [one for one in found if not one.under and bare(key).startswith(bare(one.place) + ".")]
        if above and above[-1].chooses_classes:
            rest = bare(key).removeprefix(bare(above[-1].place))
            found += opened(shared(above[-1].place + rest.replace(".", ".init_args."), spec, above[-1]))
            continue
        full = full_key(config, key)
        if full is None:
            raise InputError(f"search.space: {no_key(bare(key), map(bare, leaves(config)))}")
        found += opened(dimension(full, spec))
    if not found:
        raise InputError("search.space is empty: give it a key of the configuration that varies")
    return found


def check_objectives(config: dict[str, Any], options: Search, agent: bool) -> None:
    """InputError where an objective is nothing that a validation logs and that is to become small."""
    data = config["data"].get("init_args", {})
    points = [f"shots/{k}" for k in data.get("val_shots") or []]
    if data.get("mix", "episodes") == "episodes":
        points += [f"source/{name}" for name in data.get("sources") or {}]
    of_examples = [] if agent else ["meta_val/loss", *(f"meta_val/{point}/error" for point in points)]
    legal = ["meta_val/error", *of_examples]
    if len(options.objectives) > 1 and (options.scheduler or not options.searcher):
        raise InputError(
            "search.objective names several: they need a searcher that weighs them,"
            " ray.tune.search.optuna.OptunaSearch, and no scheduler"
        )
    for name in options.objectives:
        if name not in legal:
            raise InputError(f"search.objective is {name}: choose from {', '.join(legal)}")


def try_corners(config: dict[str, Any], space: list[Dimension], population: bool, workers: int) -> None:
    """Rehearse a run at both ends of every range and at every choice. InputError where one does not fit, would be scored
    on other episodes than the rest or, in a population, has other weights."""
    kinds, shapes = set(), set()
    for one in space:
        for value, *under in product(one.values, *one.under.values()):
            chosen = dict(zip(one.under, under, strict=True))
            try:
                cli = parse("fit", configured(config, space, corner(space, {**chosen, one.key: value})), [])
                rehearse("fit", cli.model, cli.datamodule, cli.trainer, workers)
                if isinstance(cli.datamodule, TaskData):
                    check_schedule(cli.trainer, cli.model, cli.datamodule)
            except ValueError as error:  # ours, or of an optimiser's constructor
                raise InputError(f"search.space: with {one.key} {value}: {error}") from error
            agent = isinstance(cli.model.learner, MetaRLLearner)
            kinds.add((getattr(cli.datamodule, "judged_on", None), agent and cli.model.learner.evaluation_budget()))
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


def corner(space: list[Dimension], values: dict[str, Any]) -> dict[str, Any]:
    """A point with these values, and the first value of what else the choices among them hold."""
    values = dict(values)
    for other in space:
        if other.under and exists(other, values):
            values.setdefault(other.key, other.values[0])
    return values


def claimed(runs: Path, config: dict[str, Any], options: dict[str, Any]) -> Path:
    """The folder of a new search, made here, so that none that starts at the same time gets it; the job's own where a
    scheduler starts a preempted search again. InputError where that holds another search."""
    if job := os.environ.get("LIGHTNING_META_RUN"):
        folder = RunFolder(runs / job)
        check_same(folder.path, config, options)
        return folder.make().path
    return claim(runs).path


def gone_on_with(runs: Path, config: dict[str, Any], options: dict[str, Any]) -> Path:
    """The folder of the newest search of these configurations, which must be the same."""
    if os.environ.get("LIGHTNING_META_RUN"):
        return claimed(runs, config, options)
    for version in sorted(versions(runs), reverse=True):
        folder = runs / f"version_{version}"
        if check_same(folder, config, options):
            return folder
    raise InputError(f"--resume: no search below {runs}; start one without --resume")


def check_same(folder: Path, config: dict[str, Any], options: dict[str, Any]) -> bool:
    """Return whether a folder holds a search. Raise InputError if that search has another configuration."""
    file = folder / "search.yaml"
    if not file.is_file():
        return False
    before, now = (yaml.safe_load(text) for text in (file.read_text(), yaml.safe_dump({**config, "search": options})))
    if before != now:
        differ = "; ".join(map(str, changes(now, before))) or f"see {file}"
        raise InputError(
            f"{folder} holds a search, but its configuration differs from this one: {differ}. Start a new one"
            " without --resume, as a job under another name"
        )
    return True
