"""LightningCLI over merged configuration files: trainer, model and data as configured, and the folder of a run."""

import os
from enum import Enum
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ActionConfigFile  # type: ignore[attr-defined]  # documented, though not in __all__
from pytorch_lightning import LightningDataModule, Trainer
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI

from lightning_meta.config.construction import Failure, annotate, construct, functions, why
from lightning_meta.config.faults import diagnose, with_options
from lightning_meta.config.links import OF_DATA, OF_TRAINING_DATA, module
from lightning_meta.config.merge import read as read_config
from lightning_meta.config.parser_errors import Complaining, ParserError
from lightning_meta.core import InputError
from lightning_meta.nn.build import find
from lightning_meta.training.base import MetaModule
from lightning_meta.training.checkpoint import read, trained_with
from lightning_meta.training.preemption import own_signals
from lightning_meta.training.resume import (
    Change,
    changes,
    check_changes,
    configuration_of,
)
from lightning_meta.training.run_folder import RunFolder, home, locate, place
from lightning_meta.training.safeguards import guarded, whole_files
from lightning_meta.training.start import Start, results_of, start_of_fit

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
    """LightningCLI for MetaTraining or MetaRL on any data module. As it is, for a rehearsal; it has no run folder."""

    model: MetaModule
    ckpt_path: str | None
    folder: RunFolder | None = None
    goes_on = False

    def init_parser(self, **kwargs: Any) -> LightningArgumentParser:
        self.failures, self.asked = kwargs.pop("failures"), kwargs.pop("asked")
        parser = Parser(**kwargs)
        parser.add_argument(
            "-c", "--config", action=ActionConfigFile, help="A YAML file, or the name of a packaged one; repeatable."
        )
        return parser

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument(
            "--ckpt_path",
            type=str | None,
            help="A checkpoint file, the folder of a run, or best or last: of the newest run of these --config.",
        )
        self.linked: dict[str, Any] = {}
        for name in OF_DATA[self.model_class]:  # type: ignore[index]
            key, compute = f"model.learner.init_args.{name}", partial(self.link, name)
            compute.__name__ = name  # type: ignore[attr-defined]  # which --help shows
            parser.link_arguments("data", key, compute_fn=compute, apply_on="instantiate")

    def before_instantiate_classes(self) -> None:
        found = locate(self.config.ckpt_path, home(self.config.trainer), "last")
        self.begin_with(found)

    def begin_with(self, checkpoint: Path | None) -> None:
        """Fix the checkpoint, and keep the configuration as it was given."""
        self.ckpt_path, self.config.ckpt_path = str(checkpoint) if checkpoint else None, None
        self.given = yaml.safe_load(self.parser.dump(self.config, skip_none=False))
        for kind in (object, *functions(self.given)):
            self.parser.add_instantiator(partial(construct, self.failures), kind, subclasses=kind is object)

    def instantiate_classes(self) -> None:
        """The checkpoint and HParams carry the configuration, so that `load` can build the learner again."""
        try:
            super().instantiate_classes()
        except BaseException:
            if self.folder:
                self.folder.abandon()
            raise
        own_signals(self.trainer)
        model, learner = self.config_dump["model"], self.model.learner
        for name, value in self.linked.items():
            model["learner"]["init_args"].pop(name, None)  # linked, whether or not the learner has any
            if name in signature(type(learner)).parameters:
                model["learner"]["init_args"][name] = value
        self.model.save_hyperparameters({**model, "data": self.config_dump["data"]})

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Build the trainer, with the callbacks and plugins that make a run safe added to those of the configuration."""
        given = self.config_init["trainer"]
        saves = given["enable_checkpointing"] is not False and not given["fast_dev_run"]
        callbacks = guarded(given["callbacks"], self.given, self.folder, self.goes_on, saves)
        return super().instantiate_trainer(callbacks=callbacks, plugins=whole_files(given["plugins"]), **kwargs)

    def link(self, name: str, data: LightningDataModule) -> Any:
        """Return the value of an argument of the learner that depends on the data.

        The value that the user gave comes first, then that of the checkpoint's training data, then that of the data.

        Raises:
            InputError: if there is none and the learner needs one.
        """
        learner = self.asked["model"]["learner"]
        value = (learner.get("init_args") or {}).get(name) if isinstance(learner, dict) else None
        if value is None and name in OF_TRAINING_DATA and self.ckpt_path:  # the data at hand may have no training split
            value = trained_with(self.ckpt_path, name)
        if value is None and hasattr(data, name):
            value = getattr(data, name)
        elif value is None:
            kind = find(self.config.model.learner.class_path)
            argument = signature(kind).parameters.get(name)
            if argument and argument.default is argument.empty:
                raise InputError(
                    f"{type(data).__name__} has no attribute {name!r}, which {kind.__name__} needs: give"
                    f" --model.learner.init_args.{name}"
                )
            value = argument.default if argument else 1  # a learner without this argument does not read it
        self.linked[name] = value
        return value


class FitCLI(MetaCLI):
    """In a folder of the run's own; under a scheduler, of the job's name (LIGHTNING_META_RUN), where it continues when started
    again."""

    def before_instantiate_classes(self) -> None:
        trainer = self.config.trainer
        job = os.environ.get("LIGHTNING_META_RUN")
        start = start_of_fit(self.config.ckpt_path, trainer, job)
        self.begin_with(start.checkpoint)
        self.changes, self.goes_on = self.compared(start), start.goes_on
        if trainer.fast_dev_run:
            return
        self.folder = start.made(trainer)
        step = read(start.checkpoint).get("global_step", 0) if start.checkpoint and start.goes_on else None
        place(trainer, self.folder, step, job)
        trainer.default_root_dir = str(self.folder.path)

    def compared(self, start: Start) -> list[Change]:
        """Return the changes against the configuration of the checkpoint, or of a job that stopped before it had one.

        Raise InputError if the run cannot continue with them."""
        before: dict[str, Any] = {}
        if start.checkpoint:
            before = configuration_of(read(start.checkpoint))
        elif start.folder and start.folder.config.is_file():
            before = read_config(start.folder.config)
        found = changes(self.given, before)
        check_changes(found, start)
        return found


class ScoreCLI(MetaCLI):
    """In the folder of the run that the checkpoint is of."""

    def before_instantiate_classes(self) -> None:
        trainer = self.config.trainer
        found = locate(self.config.ckpt_path, home(trainer), "best")
        self.begin_with(found)
        if found:
            self.folder = results_of(found, trainer)
            runs = self.folder.path.resolve().parent
            place(trainer, self.folder, name=None if runs == home(trainer).resolve() else runs.name)
            trainer.default_root_dir = str(self.folder.path)


class TestCLI(ScoreCLI):
    """With several sizes of episode."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        super().add_arguments_to_parser(parser)
        for part, meaning in (("ways", "classes"), ("shots", "support examples a class")):
            parser.add_argument(
                f"--{part}",
                type=int,
                nargs="+",
                help=f"The {meaning} to test with. Several numbers give several tests, each of --ways with each of --shots.",
            )


def parse(command: str, config: dict[str, Any], rest: list[str], kind: type[MetaCLI] | None = None) -> MetaCLI:
    """Trainer, model and data as configured; `--help` and `--print_config` end here."""
    failures: list[Failure] = []
    asked = with_options(config, rest)
    annotate(asked)
    try:
        return (kind or {"test": TestCLI, "validate": ScoreCLI}.get(command, MetaCLI))(
            module(config, rest),
            LightningDataModule,
            save_config_callback=None,
            subclass_mode_data=True,
            auto_configure_optimizers=False,
            run=False,
            parser_kwargs={
                "usage": f"lightning-meta {command} --config TASK.yaml --config LEARNER.yaml [--KEY VALUE ...]",
                "description": f"{USES[command]} `lightning-meta configs` lists tasks, learners and agents.",
                "allow_abbrev": False,
                "failures": failures,
                "asked": asked,
            },
            args=["--config", yaml.safe_dump(config, sort_keys=False), *rest],
        )
    except ParserError as error:
        raise InputError(diagnose(error.parser, asked, LINKED) or str(error)) from error
    except Exception as error:
        if reason := why(error, failures, asked):
            raise InputError(reason) from error
        raise
