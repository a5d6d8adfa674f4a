"""fit, validate and test: LightningCLI over merged configuration files."""

import logging
import os
import shlex
import sys
import warnings
from enum import Enum
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ActionConfigFile, Namespace  # type: ignore[attr-defined]  # documented, though not in __all__
from lightning_utilities.core.rank_zero import rank_zero_info
from pytorch_lightning import LightningDataModule, Trainer
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback

from lightning_meta.cli.checks import check_images, check_trainer, rehearse, require
from lightning_meta.cli.complaints import Complaining, ParserError
from lightning_meta.cli.configs import combine, split_argv
from lightning_meta.cli.diagnosis import diagnose, misplaced_null, with_options
from lightning_meta.cli.ending import leave_group, told_by_one
from lightning_meta.cli.failures import Failure, annotate, construct, why
from lightning_meta.cli.halves import OF_DATA, OF_TRAINING_DATA, module
from lightning_meta.cli.report import after_fit, result, text, without_checkpoint
from lightning_meta.cli.sizes import evaluate_sizes, sizes_asked
from lightning_meta.cli.tables import size_name
from lightning_meta.cli.trainer_checks import check_fit
from lightning_meta.core import InputError
from lightning_meta.core.files import write_json
from lightning_meta.core.signals import AGAIN
from lightning_meta.training.base import MetaModule
from lightning_meta.training.checkpoint import Origin, load_weights, origin, read, trained_with, unlike
from lightning_meta.training.preemption import PreemptedError, own_signals

USES = {
    "fit": "Meta-train a learner on a distribution of tasks, or an agent on one of decision processes.",
    "validate": "Score a checkpoint on the frozen meta-validation tasks.",
    "test": "Score a checkpoint on the frozen meta-test tasks, of one size or of several, of its own data or of others"
    " (--data.root).",
    "tune": "Search over configurations: many runs of fit, scored on the same meta-validation episodes.",
}
LINKED = [name for names in OF_DATA.values() for name in names]

# The parser writes defaults too, and those of Lightning's may be enumerations (Timer's interval).
yaml.SafeDumper.add_multi_representer(Enum, lambda dumper, value: dumper.represent_data(value.value))


class Parser(Complaining, LightningArgumentParser):
    """Lightning's parser, complaining in a line."""


class MetaCLI(LightningCLI):
    """LightningCLI for MetaTraining or MetaRL on any data module."""

    model: MetaModule
    ckpt_path: str | None

    def init_parser(self, **kwargs: Any) -> LightningArgumentParser:
        self.failures = kwargs.pop("failures")
        parser = Parser(**kwargs)
        parser.add_argument(
            "-c", "--config", action=ActionConfigFile, help="A YAML file, or the name of a packaged one; repeatable."
        )
        return parser

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument(
            "--ckpt_path",
            type=str | None,
            help="A checkpoint file, or best or last: of the newest run of these --config.",
        )
        self.linked: dict[str, Any] = {}
        for name in OF_DATA[self.model_class]:  # type: ignore[index]
            key, compute = f"model.learner.init_args.{name}", partial(self.link, name)
            parser.link_arguments("data", key, compute_fn=compute, apply_on="instantiate")

    def before_instantiate_classes(self) -> None:
        self.parser.add_instantiator(partial(construct, self.failures), object)
        self.ckpt_path, self.config.ckpt_path = place(self.config.ckpt_path, self.config.trainer.logger), None

    def instantiate_classes(self) -> None:
        """The checkpoint and HParams carry the configuration, so that `load` can build the learner again."""
        super().instantiate_classes()
        own_signals(self.trainer)
        model, learner = self.config_dump["model"], self.model.learner
        for name, value in self.linked.items():
            model["learner"]["init_args"].pop(name, None)  # linked, whether or not the learner has any
            if name in signature(type(learner)).parameters:
                model["learner"]["init_args"][name] = value
        self.model.save_hyperparameters({**model, "data": self.config_dump["data"]})

    def link(self, name: str, data: LightningDataModule) -> Any:
        """What the data, or the checkpoint's training data, say of an argument of the learner; where they say nothing, 1."""
        found = getattr(data, name, 1)
        if name in OF_TRAINING_DATA and self.ckpt_path:  # the data at hand may have no training split
            found = trained_with(self.ckpt_path, name, found)
        self.linked[name] = found
        return self.linked[name]


class FitCLI(MetaCLI):
    """Under a scheduler, in a folder of the job's name (LIGHTNING_META_RUN), where it goes on when started again."""

    def before_instantiate_classes(self) -> None:
        run, logger = os.environ.get("LIGHTNING_META_RUN"), self.config.trainer.logger
        saves = isinstance(logger, Namespace) and "save_dir" in logger.init_args
        if run and saves and self.config.ckpt_path not in ("best", "last"):
            args = logger.init_args
            args.version = run if args.version is None else args.version
            last = Path(args.save_dir, args.name, str(args.version), "checkpoints", "last.ckpt")
            if last.is_file():
                self.config.ckpt_path = str(last)
        super().before_instantiate_classes()


class TestCLI(MetaCLI):
    """With several sizes of episode."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        super().add_arguments_to_parser(parser)
        for part, meaning in (("ways", "classes"), ("shots", "support examples a class")):
            parser.add_argument(
                f"--{part}",
                type=int,
                nargs="+",
                help=f"Test with so many {meaning}: several numbers, several tests; each of --ways with each of --shots.",
            )


def run(command: str, argv: list[str]) -> None:
    """`command` is fit, validate or test."""
    names, rest = split_argv(argv)
    config = combine(names)
    if not {"-h", "--help"} & set(rest):
        require(config, rest)
    sys.argv[1:] = [command, *argv]  # what Lightning starts further processes with
    with warnings.catch_warnings():
        quiet()
        cli = parse(command, config, rest, FitCLI if command == "fit" else None)
        if fault := misplaced_null(cli.parser, with_options(config, rest), LINKED):
            raise InputError(fault)
        try:
            execute(command, cli, argv)
            leave_group()
        except PreemptedError as told:
            leave_group()
            if told.saved and told.code not in (0, AGAIN):
                print(f"resume:     lightning-meta fit {shlex.join(without_checkpoint(argv))} --ckpt_path {told.saved}")
            raise
        except Exception as error:
            raise told_by_one(error, cli.trainer) from error


def parse(command: str, config: dict[str, Any], rest: list[str], kind: type[MetaCLI] | None = None) -> MetaCLI:
    """Trainer, model and data as configured; `--help` and `--print_config` end here."""
    failures: list[Failure] = []
    asked = with_options(config, rest)
    annotate(asked)
    try:
        return (kind or (TestCLI if command == "test" else MetaCLI))(
            module(config, rest),
            LightningDataModule,
            save_config_callback=SaveConfigCallback if command == "fit" else None,
            save_config_kwargs={"overwrite": True},
            subclass_mode_data=True,
            auto_configure_optimizers=False,
            run=False,
            parser_kwargs={
                "usage": f"lightning-meta {command} --config TASK.yaml --config LEARNER.yaml [--KEY VALUE ...]",
                "description": f"{USES[command]} `lightning-meta configs` lists tasks, learners and agents.",
                "allow_abbrev": False,
                "failures": failures,
            },
            args=["--config", yaml.safe_dump(config, sort_keys=False), *rest],
        )
    except ParserError as error:
        raise InputError(diagnose(error.parser, asked, LINKED) or str(error)) from error
    except Exception as error:
        if reason := why(error, failures, asked):
            raise InputError(reason) from error
        raise


def execute(command: str, cli: MetaCLI, argv: list[str]) -> None:
    """Check the checkpoint, run, report."""
    model, data, trainer = cli.model, cli.datamodule, cli.trainer
    check_trainer(cli.config.trainer.precision, trainer, model)
    sizes = sizes_asked(data, cli.config.ways, cli.config.shots) if command == "test" else []
    found = None
    if cli.ckpt_path:
        checkpoint = read(cli.ckpt_path)
        load_weights(model.learner, checkpoint, cli.ckpt_path)
        check_images(cli.ckpt_path, checkpoint, data)
        found = origin(cli.ckpt_path, checkpoint)
        for line in unlike(model.hparams["learner"], checkpoint):
            rank_zero_info(f"the checkpoint differs: {line}")
    elif command != "fit":
        raise InputError(f"{command} needs a checkpoint: --ckpt_path best, last or a file")
    if command == "test" and found:
        evaluate_sizes(model, trainer, data, sizes, found)
        return
    rehearse(command, model, data, trainer)
    if command == "fit":
        check_fit(trainer, model, data)
        parameters = sum(w.numel() for w in model.learner.parameters())
        rank_zero_info(f"{type(model.learner).__name__}, {parameters:,} parameters")
        trainer.fit(model, datamodule=data, ckpt_path=cli.ckpt_path, weights_only=True)
        after_fit(trainer, argv)
    elif found:
        trainer.validate(model, datamodule=data, verbose=False)  # theta is there
        after_validation(trainer, data, model, found)


def after_validation(trainer: Trainer, data: LightningDataModule, model: MetaModule, origin: Origin) -> None:
    """Print the scores and write them into the run."""
    folder = trainer.log_dir  # asked of every process, for they agree on it
    if trainer.is_global_zero:
        found = result("meta_val", "meta_val", trainer, data, model.learner, origin)
        print(text(found))
        if folder:
            write_json(Path(folder, f"meta_val{size_name(found['protocol'])}.json"), found, indent=1)


def place(ckpt: str | None, logger: Any) -> str | None:
    """Resolve `best` and `last` to the newest run of this name that has one, and let the run go on in its folder."""
    if ckpt not in ("best", "last"):
        return ckpt
    if not (isinstance(logger, Namespace) and "save_dir" in logger.init_args):
        raise InputError(f"--ckpt_path {ckpt} looks in the logger's folder, but there is no logger: give a file")
    runs = Path(logger.init_args.save_dir, logger.init_args.name)
    found = sorted(runs.glob(f"*/checkpoints/{ckpt}.ckpt"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise InputError(
            f"no {ckpt} checkpoint below {runs}: run `lightning-meta fit` with the same --config files first"
        )
    logger.init_args.version = found[-1].parts[-3]
    return str(found[-1])


def quiet() -> None:
    """Keep off the screen what tells a user nothing: an advertisement, and warnings between libraries."""
    logging.getLogger("pytorch_lightning.utilities.rank_zero").addFilter(worth_reading)
    for noise in (
        "LightningCLI's args parameter",
        ".*LeafSpec",
        "Your `IterableDataset` has `__len__` defined",  # every loader worker reads its own meta-batches
        ".*does not have many workers",  # speed/waiting tells whether more would help
        "The number of training batches",  # of a short run
        "The `srun` command is available",  # on a machine of a cluster, though outside of its jobs
        "Checkpoint directory .* exists",  # a resumed run goes on in its own
        "The dirpath has changed",  # a checkpoint file is tested in a run of its own
    ):
        warnings.filterwarnings("ignore", noise)


def worth_reading(record: logging.LogRecord) -> bool:
    return not any(noise in record.getMessage() for noise in ("litlogger", "TPU available"))
