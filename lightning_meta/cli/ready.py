"""The check of a command before it is sent elsewhere: it parses, fits its data, and suits the job's size."""

import copy
from typing import Any, NamedTuple

import yaml

from clusters.core.job import Job
from clusters.core.secrets import secret_settings
from lightning_meta.config.lightning_cli import MetaCLI, TestCLI, parse
from lightning_meta.config.merge import combine, require, split_argv
from lightning_meta.core import InputError
from lightning_meta.evaluation.rehearsal import rehearse
from lightning_meta.training.quiet import LIGHTNING, only_errors, quiet
from lightning_meta.training.run_folder import home, locate
from lightning_meta.training.trainer_checks import check_fit

HERE = "--trainer.accelerator cpu --trainer.devices 1 --trainer.num_nodes 1 --trainer.strategy auto"


class Ready(NamedTuple):
    """The command as it was meant, its resolved configuration (YAML) if it has one, from which it will run, and the seed it
    begins from."""

    command: tuple[str, ...]
    config: str | None
    seed: int


def ready(job: Job, here: bool) -> Ready:
    """Check the command of a job; `here` tells that the data are reached from this machine as from the job's.

    Raises InputError as the run itself would.
    """
    command, argv = job.command[0], list(job.command[1:])
    if {"-h", "--help", "--print_config"} & set(argv):
        raise InputError(f"{job.command[0]} {' '.join(argv)} prints something and ends: run it here, without submit")
    if command not in ("fit", "validate", "test", "tune"):
        if job.array > 1:
            raise InputError(f"--array runs with other seeds, and {command} has none: leave it out")
        if job.nodes * job.tasks_per_node > 1:
            raise InputError(f"{command} is one process: give it one node, and no more than one GPU")
        return Ready(job.command, None, 0)
    quiet()
    with only_errors(*LIGHTNING):
        return configured(job, command, argv, here)


def configured(job: Job, command: str, argv: list[str], here: bool) -> Ready:
    """The same, of a command that has a configuration."""
    names, rest = split_argv(argv)
    config = combine(names)
    require(config, rest)
    more = implied(job, config, rest) if command != "tune" else implied_gpus(job, config, rest)
    argv, rest = argv + more, rest + more
    cli = _parsed(command, config, rest)
    if command != "tune":
        check_size(job, cli.config.trainer)
        check_share(job, cli.config.data)
    else:
        check_gpus(job, cli.config.search)
    seed = cli.config.get("seed_everything")
    if job.array > 1 and (not isinstance(seed, int) or isinstance(seed, bool)):
        raise InputError(f"--array counts seeds from seed_everything, which is {seed!r}: give a number")
    if here:
        try_here(command, config, rest, job.nodes * job.tasks_per_node)
    if command in ("validate", "test") and here:  # of the run that is the newest now, not when the job starts
        found = locate(cli.config.ckpt_path, home(cli.config.trainer), "best")
        cli.config.ckpt_path = str(found) if found else None
    kept = cli.parser.dump(cli.config, skip_none=False)
    for key in secret_settings(yaml.safe_load(kept)):
        raise InputError(
            f"{key} looks like a secret, which the configuration that a job keeps would show: leave it out, and export the"
            " variable that the library reads in its place"
        )
    return Ready((command, *argv), kept, seed if isinstance(seed, int) else 0)


def implied(job: Job, config: dict[str, Any], rest: list[str]) -> list[str]:
    """Options of the trainer that the job's size asks for and the command leaves open."""
    if job.nodes * job.tasks_per_node == 1:
        return []
    named = {arg.split("=")[0] for arg in rest}
    wanted = {"devices": job.tasks_per_node, "num_nodes": job.nodes, "strategy": "ddp"}
    base = combine([])["trainer"]
    return [
        f"--trainer.{key}={value}"
        for key, value in wanted.items()
        if f"--trainer.{key}" not in named and config["trainer"].get(key) == base.get(key)
    ]


def implied_gpus(job: Job, config: dict[str, Any], rest: list[str]) -> list[str]:
    """A GPU for each trial of a job that reserves some, where the command leaves it open."""
    search = config.get("search")
    named = any(arg.split("=")[0] == "--search.gpus" for arg in rest) or (isinstance(search, dict) and "gpus" in search)
    return [] if named or not job.gpus_per_node else ["--search.gpus=1"]


def check_gpus(job: Job, search: Any) -> None:
    """InputError where GPUs are reserved that no trial uses."""
    if job.gpus_per_node and not search.gpus:
        raise InputError(
            f"--gpus-per-node is {job.gpus_per_node}, and search.gpus is 0, so that no trial would use them: give"
            " --search.gpus 1, or 0.5 for two trials on each, or leave --gpus-per-node out"
        )


def check_size(job: Job, trainer: Any) -> None:
    """InputError where the trainer's numbers are not the job's: processes would wait for others that never come."""
    for key, asked, option in (
        ("devices", job.tasks_per_node, "--gpus-per-node"),
        ("num_nodes", job.nodes, "--nodes"),
    ):
        given = getattr(trainer, key)
        count = len(given) if isinstance(given, list) else given
        if str(count).isdigit() and int(count) != asked:
            raise InputError(
                f"--trainer.{key} is {given}, and {option} of the job makes {asked}: leave one of them out"
            )


def check_share(job: Job, data: Any) -> None:
    """InputError where the processes cannot share a meta-batch evenly."""
    processes = job.nodes * job.tasks_per_node
    batch = data.init_args.get("meta_batch", processes)
    if batch % processes:
        raise InputError(f"meta_batch is {batch}, which {processes} processes cannot share evenly: make it a multiple")


def try_here(command: str, config: dict[str, Any], rest: list[str], processes: int) -> None:
    """Build and rehearse the run in one process on the CPU, whatever it will run on."""
    if command == "tune":
        from lightning_meta.search.parser import TuneCLI
        from lightning_meta.search.tune import checked  # needs Ray

        checked(parse(command, config, rest, TuneCLI))
        return
    cli = parse(command, config, [*rest, *HERE.split()])
    if command != "fit" and not cli.ckpt_path:
        raise InputError(f"{command} needs a checkpoint: --ckpt_path best, last or a file")
    rehearse(command, cli.model, cli.datamodule, cli.trainer, processes)
    if command == "fit":
        check_fit(cli.trainer, cli.model, cli.datamodule)


def _parsed(command: str, config: dict[str, Any], rest: list[str]) -> MetaCLI:
    """The configuration alone: nothing is built."""
    from lightning_meta.search.parser import TuneCLI

    base: type[MetaCLI] = {"test": TestCLI, "tune": TuneCLI}.get(command, MetaCLI)

    class Parsed(base):  # type: ignore[misc, valid-type]
        def before_instantiate_classes(self) -> None: ...

        def instantiate_classes(self) -> None: ...

    return parse(command, copy.deepcopy(config), rest, Parsed)
