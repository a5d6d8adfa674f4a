"""lightning-meta submit: send any command to a scheduler."""

import argparse
import json
import os
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn

from clusters.core.backend import Backend
from clusters.core.job import Job, JobError
from clusters.core.job_folder import placeholder_folder
from clusters.core.options import Option
from clusters.core.plugins import backend_names, load_backend, load_backends, stranger_at_fault
from clusters.core.profiles import JOB_OPTIONS, read_profile, split_settings
from clusters.core.secrets import secret_arguments
from clusters.core.send import Sent, preview, send
from lightning_meta.core import InputError

COMMANDS = ("fit", "validate", "test", "tune", "compare", "adapt", "shards", "demo")
SIZES = ("nodes", "gpus_per_node", "cpus_per_task", "memory", "time", "max_restarts")  # options as well as profile keys
EPILOG = """Everything after -- is a lightning-meta command as you would type it here; it is checked as far as possible before
it is sent. On more than one GPU or node, a fit, validate or test gets --trainer.devices, num_nodes and strategy from the job.

Settings of a site are stored as named profiles in ~/.config/lightning-meta/profiles.yaml (or LIGHTNING_META_PROFILES) and
chosen with --profile. These keys are for every back end:
{keys}
Each back end has keys of its own: `lightning-meta submit BACKEND --help` lists them.

examples, with one of the back ends:
  lightning-meta submit BACKEND --gpus-per-node 8 --time 4h -- fit --config omniglot-maml.yaml
  lightning-meta submit BACKEND --profile a100 --array 5 -- fit ...       five seeds
  lightning-meta submit BACKEND --dry-run -- tune ...                     print what would be sent
  lightning-meta jobs logs ID -f                                          from any shell; also list, status, cancel"""


class Parser(argparse.ArgumentParser):
    """A parser whose errors are InputErrors."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message} (see `{self.prog} --help`)")


def run(argv: list[str]) -> None:
    """Check, render, keep and send a job."""
    own, command = argv, []
    if "--" in argv:
        own, command = argv[: argv.index("--")], argv[argv.index("--") + 1 :]
    with job_errors():
        if {"-h", "--help"} & set(own):
            print_help(own)
            return
        asked = submit_parser(load_backends()[0]).parse_args(own)
        if not command:
            raise InputError(
                "no command is given: put it after --, as in `lightning-meta submit BACKEND -- fit --config ...`"
            )
        if command[0] not in COMMANDS:
            raise InputError(f"{command[0]!r} cannot be submitted: choose from {', '.join(COMMANDS)}")
        backend = load_backend(asked.backend)
        job = checked(backend, describe_job(asked, backend, tuple(command)))
        if asked.dry_run:
            print(preview(backend, job), end="")
        else:
            report(asked, send(backend, job))


def print_help(own: list[str]) -> None:
    """Print the help of `submit`, or of the back end that the arguments name."""
    backends, problems = load_backends()
    if named := [word for word in own if word in backend_names()]:
        print(backend_help(load_backend(named[0])))
        return
    parser = submit_parser(backends)
    listed = "".join(f"\n  {name:12}{backend.summary}" for name, backend in backends.items())
    parser.description = f"Send a command to a scheduler, and print the job's id. The back ends are:\n{listed}"
    parser.description += "".join(f"\n  {problem}" for problem in problems)
    parser.print_help()


def backend_help(backend: Backend) -> str:
    """Return what there is to know about a back end: its keys of a profile, its own option, what it does not support."""
    text = f"lightning-meta submit {backend.name} [options] -- COMMAND ...\n\nSend a command to {backend.summary}.\n"
    text += f"\nkeys of a profile for {backend.name}, beside those of `lightning-meta submit --help`:\n"
    text += key_lines(backend.options)
    if backend.passthrough:
        form = f"--{backend.passthrough.flag}={backend.passthrough.example}"
        text += f"\nany other option of the scheduler, unchanged: {form}\n"
    if backend.unsupported:
        text += "\nnot supported:\n"
        text += "".join(f"  {field:18}{remedy}\n" for field, remedy in backend.unsupported.items())
    return text + "\n`lightning-meta submit --help` lists the options."


def key_lines(options: Mapping[str, Option]) -> str:
    """Return one line per option: its name and its meaning."""
    lines = []
    for name, option in options.items():
        choices = f" ({' or '.join(option.choices)})" if option.choices else ""
        lines.append(f"  {name:20}{option.meaning}{choices}\n")
    return "".join(lines)


def submit_parser(backends: Mapping[str, Backend]) -> Parser:
    """Return the parser of the words before --."""
    names = backend_names()
    parser = Parser(
        prog="lightning-meta submit",
        usage=f"lightning-meta submit {'|'.join(names)} [options] -- COMMAND ...",
        epilog=EPILOG.format(keys=key_lines(JOB_OPTIONS)),
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("backend", choices=names, help="the scheduler to send it to")
    parser.add_argument("--profile", help="the name of stored settings, which the options below override")
    parser.add_argument("--name", help="the job's name in lists; by default the command and its configurations")
    for name in SIZES:
        option = JOB_OPTIONS[name]
        kind, metavar = (int, "N") if option.type is int else (str, name.upper())
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, metavar=metavar, help=option.meaning)
    parser.add_argument(
        "--array", type=int, metavar="N", default=1, help="the number of runs, each with another seed; 1 by default"
    )
    parser.add_argument("--env", action="append", metavar="NAME=VALUE", default=[], help="a variable for the job")
    parser.add_argument("--dry-run", action="store_true", help="print exactly what would be sent, and send nothing")
    parser.add_argument("--json", action="store_true", help="print the id, the back end and the folder as JSON")
    owners: dict[str, list[Backend]] = {}
    for backend in backends.values():
        if backend.passthrough:
            owners.setdefault(backend.passthrough.flag, []).append(backend)
    for flag, some in owners.items():
        forms = " or ".join(f"--{flag}={each.passthrough.example}" for each in some if each.passthrough)
        meaning = f"any other option of {' and '.join(each.name for each in some)}, unchanged, such as {forms}"
        try:
            parser.add_argument(
                f"--{flag}", action="append", metavar="...", default=[], dest=f"to {flag}", help=meaning
            )
        except argparse.ArgumentError as error:
            problem = f"--{flag} of the back end {some[0].name} is an option of submit already: update or uninstall it"
            raise InputError(problem) from error
    return parser


def describe_job(asked: argparse.Namespace, backend: Backend, command: tuple[str, ...]) -> Job:
    """Return the job of the options and the profile; the options take precedence."""
    fields, options = split_settings(read_profile(asked.profile, backend) if asked.profile else {})
    fields |= {name: getattr(asked, name) for name in SIZES if getattr(asked, name) is not None}
    for pair in asked.env:
        name, equals, value = pair.partition("=")
        if not equals:
            raise JobError(f"--env is {pair!r}: give NAME=VALUE")
        fields["environment"] = {**fields.get("environment", {}), name: value}
    own = f"to {backend.passthrough.flag}" if backend.passthrough else None
    for name, values in vars(asked).items():
        if name.startswith("to ") and values and name != own:
            raise JobError(f"--{name.removeprefix('to ')} is not an option of {backend.name}: leave it out")
        if name == own:
            fields["passthrough"] = (*fields.get("passthrough", ()), *values)
    name = asked.name if asked.name is not None else default_name(command)
    return Job(name, command, placeholder_folder(name), Path.cwd(), array=asked.array, options=options, **fields)


def checked(backend: Backend, job: Job) -> Job:
    """Return the job with its resolved configuration, after every check that needs no scheduler."""
    backend.validate(job)
    for option in secret_arguments(job.command):
        raise JobError(
            f"{option} looks like a secret, which the job's files and the scheduler's lists would show: give it to the program"
            " that reads it as a variable of your shell, or in a file"
        )
    with warnings.catch_warnings(), same_environment():
        from lightning_meta.cli.ready import ready

        resolved = ready(job, here=backend.shares_files)
    return replace(job, command=resolved.command, config=resolved.config, seed=resolved.seed)


def report(asked: argparse.Namespace, sent: Sent) -> None:
    """Print the id of a job, and where to look."""
    if sent.existing:
        state = "has succeeded" if sent.existing.state == "succeeded" else f"is {sent.existing.state}"
        print(
            f"nothing is started: {sent.id} is the same command on the same files, and {state}; another --name starts it anew",
            file=sys.stderr,
        )
    if asked.json:
        print(json.dumps({"id": sent.id, "backend": asked.backend, "folder": str(sent.folder)}))
        return
    print(sent.id)
    print(f"folder: {sent.folder}\nnext:   lightning-meta jobs status {sent.id}", file=sys.stderr)


def default_name(command: tuple[str, ...]) -> str:
    """Return a name from the command and the configuration files it names, such as fit-omniglot-maml."""
    stems = [Path(value).stem for option, value in pairwise(command) if option in ("--config", "-c")]
    name = "-".join([command[0], *stems])
    return "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "_" for c in name)[:64]


@contextmanager
def same_environment() -> Iterator[None]:
    """Undo what a check sets, such as PL_GLOBAL_SEED, so that it is not passed on to the job as if it were the shell's."""
    before = dict(os.environ)
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)


@contextmanager
def job_errors() -> Iterator[Any]:
    """Turn a JobError of `clusters`, and any error of a back end of another package, into an InputError."""
    try:
        yield
    except (InputError, JobError) as error:
        raise InputError(str(error)) from error
    except Exception as error:
        if message := stranger_at_fault(error):
            raise InputError(message) from error
        raise
