"""lightning-meta submit: send any command to a scheduler."""

import argparse
import json
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn

from clusters.core.job import Backend, Job, JobError
from clusters.core.job_folder import discard, find, future_folder, keep, new_folder, record, records
from clusters.core.profiles import profile, split
from clusters.core.secrets import secret_arguments
from lightning_meta.core import InputError

BACKENDS = {
    "local": "clusters.local.backend.Local",
    "slurm": "clusters.slurm.backend.Slurm",
    "ray": "clusters.ray.backend.RayJobs",
    "kubernetes": "clusters.kubernetes.backend.Kubernetes",
}
FORMS = {
    "sbatch": "--exclusive",
    "kubernetes": "spec.template.spec.schedulerName=volcano",
    "ray": "runtime_env.pip=[einops]",
}
COMMANDS = ("fit", "validate", "test", "tune", "compare", "adapt", "shards", "demo")
EPILOG = """Everything after -- is a lightning-meta command as you would type it here; it is checked as far as can be before it
is sent. On more than one GPU or node, a fit, validate or test gets --trainer.devices, num_nodes and strategy from the job.

Settings of a site live under names in ~/.config/lightning-meta/profiles.yaml (or LIGHTNING_META_PROFILES): --profile.
Keys for all: nodes, gpus_per_node, cpus_per_task, memory, time, max_restarts, environment, setup, passthrough, python. For
slurm also partition, account, qos, constraint, reservation; for ray address, forward, excludes; for kubernetes image,
namespace, volumes, secrets ... A key that is not known is refused with the list of those that are.

examples:
  lightning-meta submit slurm --nodes 2 --gpus-per-node 8 --time 4h -- fit --config omniglot.yaml --config maml.yaml
  lightning-meta submit slurm --profile a100 --array 5 -- fit ...         five seeds
  lightning-meta submit ray --dry-run -- tune ...                         what would be sent, and what would be left out
  lightning-meta jobs logs ID -f                                          from any shell; also list, status, cancel"""


class Options(argparse.ArgumentParser):
    """Its complaints are an InputError."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message} (see `{self.prog} --help`)")


def backend(name: str) -> Backend:
    """The back end of a name; imports only that one."""
    if name not in BACKENDS:
        raise InputError(f"no back end {name!r}: choose from {', '.join(BACKENDS)}")
    module, _, kind = BACKENDS[name].rpartition(".")
    try:
        return getattr(import_module(module), kind)()
    except ModuleNotFoundError as error:
        raise InputError(f"{name} needs the Python package {error.name}, which is not installed") from error


def options() -> Options:
    parser = Options(
        prog="lightning-meta submit",
        usage="lightning-meta submit slurm|local|ray|kubernetes [options] -- COMMAND ...",
        description="Send a run to a scheduler, and print its id.",
        epilog=EPILOG,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("backend", choices=BACKENDS, help="who runs it; local is this machine")
    parser.add_argument("--profile", help="settings of this name, which the options below override")
    parser.add_argument("--name", help="what lists show; by default the command and its configurations")
    parser.add_argument("--nodes", type=int, metavar="N", help="machines (1)")
    parser.add_argument(
        "--gpus-per-node", type=int, metavar="N", help="GPUs, and processes, of each (0: one process without a GPU)"
    )
    parser.add_argument("--cpus-per-task", type=int, metavar="N", help="CPU cores of each process (1)")
    parser.add_argument("--memory", help="of a node, such as 16G")
    parser.add_argument("--time", help="limit, such as 30m, 4h or 1-12:00:00")
    parser.add_argument(
        "--array", type=int, metavar="N", default=1, help="run it so many times, each with another seed (1)"
    )
    parser.add_argument("--max-restarts", type=int, metavar="N", help="put a preempted job back so often (10)")
    parser.add_argument("--env", action="append", metavar="NAME=VALUE", default=[], help="a variable of the job's")
    for name, form in FORMS.items():
        meaning = f"anything else, as {name} takes it: --{name}={form}"
        parser.add_argument(f"--{name}", action="append", metavar="...", default=[], help=meaning)
    parser.add_argument("--dry-run", action="store_true", help="print exactly what would be sent, and send nothing")
    parser.add_argument("--json", action="store_true", help="print id, back end and folder as JSON")
    return parser


def run(argv: list[str]) -> None:
    """Check, render, keep, send."""
    own, command = argv, []
    if "--" in argv:
        own, command = argv[: argv.index("--")], argv[argv.index("--") + 1 :]
    asked = options().parse_args(own)
    if not command:
        raise InputError(
            "no command is given: put it after --, as in `lightning-meta submit local -- fit --config ...`"
        )
    if command[0] not in COMMANDS:
        raise InputError(f"{command[0]!r} cannot be submitted: choose from {', '.join(COMMANDS)}")
    chosen = user(backend, asked.backend)
    job = user(described, asked, tuple(command))
    user(refuse_ignored, chosen, job)
    with warnings.catch_warnings(), same_environment():
        from lightning_meta.cli.ready import ready

        checked = ready(job, here=asked.backend in ("local", "slurm"))
    job = replace(job, command=checked.command, config=checked.config)
    if job.array > 1:
        job = replace(job, options={**job.options, "seed": checked.seed})
    script = user(chosen.render, job)
    user(chosen.check, job, asked.dry_run)
    if asked.dry_run:
        print(script, end="")
        return
    twin = user(chosen.twin, job)
    if twin:
        there = "has succeeded" if twin.state == "succeeded" else f"is {twin.state}"
        print(
            f"nothing is started: {twin.id} is the same command on the same files, and {there}; another --name starts it anew",
            file=sys.stderr,
        )
        if twin.id in [one.id for one in records()]:
            report(asked, twin.id, find(twin.id).folder)
            return
    job = replace(job, folder=user(new_folder, job.name))
    user(keep, job, user(chosen.render, job))
    try:
        id = twin.id if twin else user(chosen.submit, job)
    except BaseException:
        discard(job.folder)
        raise
    try:
        record(job, asked.backend, id)
    except JobError as error:
        raise InputError(f"the job {id} was sent to {asked.backend}, but {error}") from error
    report(asked, id, job.folder)


def report(asked: argparse.Namespace, id: str, folder: Path) -> None:
    """Print the id, and where to look."""
    print(json.dumps({"id": id, "backend": asked.backend, "folder": str(folder)}) if asked.json else id)
    if not asked.json:
        print(f"folder: {folder}\nnext:   lightning-meta jobs status {id}", file=sys.stderr)


def refuse_ignored(chosen: Backend, job: Job) -> None:
    """JobError where the job asks for what its scheduler would not give, or holds a secret that others would read."""
    for key, remedy in chosen.without.items():
        value = getattr(job, key)
        if value is not None and value != getattr(Job, key, None):
            raise JobError(f"--{key.replace('_', '-')} is {value}: {remedy}")
    for option in secret_arguments(job.command):
        raise JobError(
            f"{option} looks like a secret, which the job's files and the scheduler's lists would show: give it to the program"
            " that wants it as a variable of your shell, or in a file"
        )


@contextmanager
def same_environment() -> Iterator[None]:
    """What a check sets for itself, such as PL_GLOBAL_SEED, is not passed on to the job as if it were the shell's."""
    before = dict(os.environ)
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)


def described(asked: argparse.Namespace, command: tuple[str, ...]) -> Job:
    """The job that options and profile tell, options first."""
    own, more = split(profile(asked.profile, asked.backend) if asked.profile else {})
    for key in ("nodes", "gpus_per_node", "cpus_per_task", "memory", "time", "max_restarts"):
        if getattr(asked, key) is not None:
            own[key] = getattr(asked, key)
    for pair in asked.env:
        name, equals, value = pair.partition("=")
        if not equals:
            raise JobError(f"--env {pair}: give NAME=VALUE")
        own["environment"] = {**own.get("environment", {}), name: value}
    for scheduler, option in (("slurm", "sbatch"), ("kubernetes", "kubernetes"), ("ray", "ray")):
        if given := getattr(asked, option):
            if asked.backend != scheduler:
                raise JobError(f"--{option} is for {scheduler}, and this job goes to {asked.backend}: leave it out")
            own["passthrough"] = (*own.get("passthrough", ()), *given)
    name = asked.name if asked.name is not None else called(command)
    return Job(name, command, future_folder(name), Path.cwd(), array=asked.array, options=more, **own)


def called(command: tuple[str, ...]) -> str:
    """A name from the command and the configuration files it names, such as fit-omniglot-maml."""
    stems = [Path(b).stem for a, b in pairwise(command) if a in ("--config", "-c")]
    name = "-".join([command[0], *stems])
    return "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "_" for c in name)[:64]


def user(call: Callable[..., Any], *arguments: Any) -> Any:
    """Call into clusters, whose JobError is a user's mistake."""
    try:
        return call(*arguments)
    except JobError as error:
        raise InputError(str(error)) from error
