"""lightning-meta tune: a search over configurations, a population of them or one after the other."""

import logging
import warnings

from pytorch_lightning.cli import LightningArgumentParser

from lightning_meta.cli.checks import require
from lightning_meta.cli.configs import combine, split_argv
from lightning_meta.cli.lightning_cli import MetaCLI, parse
from lightning_meta.cli.quiet import LIGHTNING, only_errors, quiet
from lightning_meta.core import InputError
from lightning_meta.search.options import Search


class TuneCLI(MetaCLI):
    """A run that varies."""

    ckpt_path = None

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        super().add_arguments_to_parser(parser)
        parser.add_class_arguments(Search, "search")
        parser.add_argument("--address", type=str | None, help="Join this Ray cluster (auto: the one of this machine).")
        parser.add_argument("--resume", action="store_true", help="Go on with the newest search of these --config.")

    def before_instantiate_classes(self) -> None:
        if self.config.ckpt_path:
            raise InputError("tune begins its trials anew and takes no --ckpt_path; --resume goes on with a search")
        super().before_instantiate_classes()


def run(argv: list[str]) -> None:
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
        from lightning_meta.cli.searching import search  # needs Ray

        with only_errors(*LIGHTNING, "optuna"), only_errors("ray.tune", level=logging.CRITICAL):
            search(parse("tune", config, rest, TuneCLI), argv)  # ray.tune prints the whole traceback of a trial's death
