"""fit, validate and test: LightningCLI over merged configuration files."""

import re
import sys
import warnings
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ActionConfigFile, Namespace
from pytorch_lightning import LightningDataModule
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI

from lightning_meta.cli.configs import combine, split_argv
from lightning_meta.core import InputError
from lightning_meta.training import MetaTraining
from lightning_meta.training.checkpoint import load_weights, read
from lightning_meta.training.report import print_report


class Parser(LightningArgumentParser):
    """A parser whose complaints name what is legal."""

    def error(self, message: str, ex: Exception | None = None) -> None:  # type: ignore[override]
        if not self.exit_on_error:
            super().error(message, ex)
        raise InputError(message.strip() + legal_options(message)) from ex


class MetaCLI(LightningCLI):
    """LightningCLI for MetaTraining on any data module."""

    def init_parser(self, **kwargs: Any) -> LightningArgumentParser:
        parser = Parser(**kwargs)
        parser.add_argument("-c", "--config", action=ActionConfigFile, help="Configuration file; may be given again.")
        return parser

    def instantiate_classes(self) -> None:
        """The checkpoint and HParams carry the configuration, so that `load` can build the learner again."""
        super().instantiate_classes()
        self.model.save_hyperparameters({**self.config_dump["model"], "data": self.config_dump["data"]})

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.link_arguments("data", "model.learner.init_args.outputs", compute_fn=outputs)


def outputs(data: Namespace) -> int:
    """Width of a learner's head, if it has one: the ways of the training episodes, or 1 for a regression task."""
    ways = data.init_args.get("ways")
    return 1 if ways is None else max(ways) if isinstance(ways, (list, tuple)) else ways


def run(command: str, argv: list[str]) -> None:
    """`command` is fit, validate or test."""
    names, rest = split_argv(argv)
    config = combine(names)
    if "-h" not in rest and "--help" not in rest:
        require(config, rest)
    ckpt, rest = take(rest, "--ckpt_path")
    ckpt = ckpt or config.pop("ckpt_path", None)
    logger = config["trainer"].get("logger")
    if isinstance(logger, dict) and names:
        logger["init_args"]["name"] = "-".join(Path(name).stem for name in names)
        ckpt = place(ckpt, logger["init_args"])
    if command != "fit" and ckpt is None and "--print_config" not in rest:
        raise InputError(f"{command} needs a checkpoint: --ckpt_path best, last or a file")
    sys.argv[1:] = [command, *argv]  # what Lightning starts further processes with
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "LightningCLI's args parameter")
        cli = MetaCLI(
            MetaTraining,
            LightningDataModule,
            subclass_mode_data=True,
            auto_configure_optimizers=False,
            run=False,
            parser_kwargs={"prog": f"lightning-meta {command} --config TASK.yaml --config LEARNER.yaml"},
            save_config_kwargs={"overwrite": True},
            args=["--config", yaml.safe_dump(config, sort_keys=False), *rest],
        )
    if ckpt:
        check(ckpt, cli.model)
    getattr(cli.trainer, command)(cli.model, datamodule=cli.datamodule, ckpt_path=ckpt, weights_only=True)
    print_report(command, cli.trainer, cli.datamodule)


def check(path: str, model: MetaTraining) -> None:
    """InputError where the file is no checkpoint, or one of another learner."""
    weights = read(path)["state_dict"]
    load_weights(model.learner, {name.removeprefix("learner."): w for name, w in weights.items()}, path)


def require(config: dict[str, Any], rest: list[str]) -> None:
    """A run needs a task and a learner."""
    for key, kind, example in (("data", "task", "glyphs.yaml"), ("model.learner", "learner", "protonet.yaml")):
        node: Any = config
        for part in key.split("."):
            node = node.get(part, {}) if isinstance(node, dict) else {}
        if "class_path" not in node and not any(arg.startswith(f"--{key}") for arg in rest):
            raise InputError(f"no {kind} is given: add --config {example}, say (`lightning-meta configs` lists them)")


def place(ckpt: str | None, logger: dict[str, Any]) -> str | None:
    """Resolve `best` and `last` to the newest run of this name that has one, and let the run go on in its folder."""
    if ckpt not in ("best", "last"):
        return ckpt
    runs = Path(logger["save_dir"]) / logger["name"]
    found = sorted(runs.glob(f"version_*/checkpoints/{ckpt}.ckpt"), key=lambda path: int(path.parts[-3].split("_")[1]))
    if not found:
        raise InputError(
            f"no {ckpt} checkpoint below {runs}: run `lightning-meta fit` with the same --config files first"
        )
    logger["version"] = found[-1].parts[-3]
    return str(found[-1])


def take(argv: list[str], option: str) -> tuple[str | None, list[str]]:
    """The value of an option and the arguments without it."""
    for i, arg in enumerate(argv):
        if arg == option and i + 1 < len(argv):
            return argv[i + 1], argv[:i] + argv[i + 2 :]
        if arg.startswith(f"{option}="):
            return arg.partition("=")[2], argv[:i] + argv[i + 1 :]
    return None, argv


def legal_options(message: str) -> str:
    """What a class accepts, where the parser says only that something is not accepted."""
    found = re.search(r"class_path '([\w.]+)':\s+Option '(\w+)' is not accepted", message)
    if not found:
        return ""
    module, _, name = found[1].rpartition(".")
    names = [p for p in signature(getattr(import_module(module), name)).parameters if p != "self"]
    return f"\n{name} accepts: {', '.join(names)}"
