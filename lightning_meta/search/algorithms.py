"""Ray's schedulers and searchers from their descriptions."""

import difflib
import inspect
from functools import partial
from itertools import cycle, islice
from typing import Any

from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, PopulationBasedTraining, TrialScheduler
from ray.tune.schedulers.pb2 import PB2
from ray.tune.search import BasicVariantGenerator, SearchAlgorithm, Searcher
from ray.tune.search.optuna import OptunaSearch

from lightning_meta.core import InputError
from lightning_meta.nn.build import find
from lightning_meta.search.choices import point
from lightning_meta.search.names import is_description
from lightning_meta.search.options import Search
from lightning_meta.search.space import Dimension, exists


def make_scheduler(options: Search, space: list[Dimension], epochs: int) -> TrialScheduler:
    """The scheduler of `options`; `epochs` is the length of a whole trial. InputError where it cannot be made."""
    if options.scheduler is None:
        return FIFOScheduler()
    kind, given = class_and_arguments("scheduler", options.scheduler, TrialScheduler)
    legal = inspect.signature(kind).parameters
    if "time_attr" in legal:
        given.setdefault("time_attr", "training_iteration")
    if issubclass(kind, PopulationBasedTraining):
        given.setdefault("perturbation_interval", 1)
        given.setdefault("custom_explore_fn", partial(clip, space=space))
        given.update(mutations(kind, space))
    elif issubclass(kind, AsyncHyperBandScheduler):
        given.setdefault("max_t", epochs)
    return attempt("scheduler", kind, given)


def mutations(kind: type[PopulationBasedTraining], space: list[Dimension]) -> dict[str, Any]:
    """Return the keys that a population may change: all that vary except classes, which a member takes over together
    with the weights and the optimiser's state that belong to them. PB2 changes ranges only: its model needs bounds."""
    if not issubclass(kind, PB2):
        return {"hyperparam_mutations": {one.key: one.mutation() for one in space if not one.chooses_classes}}
    if any(not one.is_range for one in space):
        listed = ", ".join(one.key for one in space if not one.is_range)
        raise InputError(
            f"search.scheduler: PB2 changes ranges alone, and {listed} is a list: give {{uniform: [low, high]}}, or use"
            " PopulationBasedTraining"
        )
    return {"hyperparam_bounds": {one.key: list(one.values) for one in space}}


def clip(values: dict[str, Any], space: list[Dimension]) -> dict[str, Any]:
    """Values within their ranges: a population multiplies them by a factor."""
    return values | {one.key: one.clip(values[one.key]) for one in space if one.key in values}


def make_searcher(options: Search, space: list[Dimension]) -> Searcher | SearchAlgorithm:
    """The searcher of `options`, which begins at `start`."""
    begin = [point(space, given) for given in options.start]
    points = list(islice(cycle(begin), options.trials)) if begin else None
    if options.searcher is None:
        return BasicVariantGenerator(points_to_evaluate=points, random_state=options.seed)
    if any(one.kind == "grid" for one in space):
        raise InputError(
            "search.space has a grid, which is tried point by point and needs no searcher: make it a choice"
        )
    kind, given = class_and_arguments("searcher", options.searcher, Searcher)
    legal = inspect.signature(kind).parameters
    if len(options.objectives) > 1:
        given |= {"metric": options.objectives, "mode": ["min"] * len(options.objectives)}
    for name, value in {"seed": options.seed, "points_to_evaluate": points}.items():
        if name in legal and value is not None:
            given.setdefault(name, value)
    if by_run(kind, space):
        given |= {"space": partial(propose, space=space)}
        if len(options.objectives) == 1:
            given |= {"metric": options.objectives[0], "mode": "min"}
    return attempt("searcher", kind, given)


def by_run(kind: type[Any], space: list[Dimension]) -> bool:
    """Return whether a searcher is asked for one key after another, so that it learns about conditional keys only from
    the trials that had them. The others draw every key for every trial, and values of absent keys are ignored."""
    return issubclass(kind, OptunaSearch) and any(one.under for one in space)


def propose(trial: Any, space: list[Dimension]) -> None:
    """Ask Optuna for the keys that exist, one after the other."""
    values: dict[str, Any] = {}
    for one in space:
        if not exists(one, values):
            continue
        if not one.is_range:
            values[one.key] = trial.suggest_categorical(one.key, one.values)
        elif one.kind.endswith("randint"):
            values[one.key] = trial.suggest_int(one.key, *one.values, log=one.is_log)
        else:
            values[one.key] = trial.suggest_float(one.key, *one.values, log=one.is_log)


def class_and_arguments(what: str, spec: dict[str, Any], base: type) -> tuple[type[Any], dict[str, Any]]:
    """The class that a description names, and its arguments, all of which it has."""
    if not isinstance(spec.get("class_path"), str):
        raise InputError(f"search.{what} is {spec}: give a class_path, and its init_args")
    kind = find(spec["class_path"])
    if not (isinstance(kind, type) and issubclass(kind, base)):
        raise InputError(
            f"search.{what}: {spec['class_path']!r} is no {base.__name__} that Python finds; ray.tune.schedulers and"
            " ray.tune.search have some"
        )
    given = {name: built(what, value) for name, value in (spec.get("init_args") or {}).items()}
    legal = [*inspect.signature(kind).parameters]
    for name in given:
        if name not in legal:
            close = difflib.get_close_matches(name, legal, n=1)
            raise InputError(
                f"search.{what}: {kind.__name__} has no argument {name!r}. {f'Did you mean {close[0]}? ' if close else ''}"
                f"Choose from {', '.join(legal)}"
            )
    return kind, given


def built(what: str, value: Any) -> Any:
    """An argument; where it describes an object itself, such as Optuna's sampler, that object."""
    return attempt(what, *class_and_arguments(what, value, object)) if is_description(value) else value


def attempt(what: str, kind: type[Any], given: dict[str, Any]) -> Any:
    """Construct; what the class says of its arguments, or of a package that it needs, becomes an InputError."""
    try:
        return kind(**given)
    except (ValueError, TypeError, RuntimeError, AssertionError, ImportError) as error:
        raise InputError(f"search.{what}: {kind.__name__}: {error}") from error
