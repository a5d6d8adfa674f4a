"""A search from the command line or from Python."""

import json
import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_meta.config.extras import need
from lightning_meta.config.lightning_cli import parse
from lightning_meta.config.merge import combine, require, split_argv
from lightning_meta.core import InputError
from lightning_meta.search.parser import TuneCLI
from lightning_meta.training.quiet import LIGHTNING, only_errors, quiet

if TYPE_CHECKING:
    from lightning_meta.search.conclude import SearchResult


def tune(
    configs: Sequence[str | Path], options: Mapping[str, Any] | None = None, *, resume: bool = False
) -> "SearchResult":
    """Search over configurations with Ray Tune, as `lightning-meta tune` does.

        found = lightning_meta.tune(
            ["sinusoid-maml.yaml", "search/random_inner_lr_shots.yaml"],
            {"search.trials": 4, "trainer.max_epochs": 2},
        )
        print(found.trials[0].values, found.tested[0].score.mean)

    The search has a folder of its own, with the table, the picture, the best configuration and its checkpoint.

    Args:
        configs: Configuration files, or names of packaged ones: a task, a learner and a search.
        options: Values by dotted keys, which go over the files, as options of the command line do.
        resume: Go on with the newest search of these configurations.

    Returns:
        The trials, the best first, and the results of its only meta-test.

    Raises:
        InputError: If a configuration is wrong, no trial comes to a validation, or Ray is not installed.
    """
    argv = [part for name in configs for part in ("--config", str(name))]
    for key, value in (options or {}).items():
        argv += [f"--{key}", value if isinstance(value, str) else json.dumps(value)]
    return run_search([*argv, *(["--resume"] if resume else [])])


def run_search(argv: list[str]) -> "SearchResult":
    """Search as the arguments of `lightning-meta tune` say."""
    need("search", only_say=bool({"-h", "--help"} & set(argv)))
    names, rest = split_argv(argv)
    config = combine(names)
    if not {"-h", "--help"} & set(rest):
        require(config, rest)
        if "search" not in config and not any(arg.startswith("--search") for arg in rest):
            raise InputError(
                "no search is given: add --config search/pbt_inner_lr_shots.yaml, say (`lightning-meta configs` lists them)"
            )
    with warnings.catch_warnings():
        quiet()
        warnings.filterwarnings("ignore", module="sklearn")  # PB2's Gaussian process, of bounds that it reaches
        from lightning_meta.search.tune import search  # needs Ray

        with only_errors(*LIGHTNING, "optuna"), only_errors("ray.tune", level=logging.CRITICAL):
            # ray.tune prints the whole traceback of a trial's death
            return search(parse("tune", config, rest, TuneCLI), argv)
