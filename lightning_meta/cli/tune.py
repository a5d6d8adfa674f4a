"""lightning-meta tune: a search over configurations, a population of them or one after the other."""

import logging
import warnings

from lightning_meta.config.extras import need
from lightning_meta.config.lightning_cli import parse
from lightning_meta.config.merge import combine, require, split_argv
from lightning_meta.core import InputError
from lightning_meta.search.parser import TuneCLI
from lightning_meta.training.quiet import LIGHTNING, only_errors, quiet


def run(argv: list[str]) -> None:
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
            search(parse("tune", config, rest, TuneCLI), argv)  # ray.tune prints the whole traceback of a trial's death
