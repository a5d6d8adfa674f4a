"""What of a job goes into a shell script: everything that a user gave, quoted."""

import difflib
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from clusters.core.job import Job, JobError
from clusters.core.secrets import is_secret

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
MEMORY = re.compile(r"\d+[KMGT]?")
SPANS = {"d": 86400, "h": 3600, "m": 60, "s": 1}


def check(job: Job) -> None:
    """JobError where a name, a number or a variable is none that schedulers and file systems hold."""
    if not NAME.fullmatch(job.name):
        raise JobError(
            f"the job's name is {job.name!r}: give at most 64 letters, digits, dots, dashes and underscores, the first of"
            " them no dot or dash"
        )
    for option, value, least in (
        ("nodes", job.nodes, 1),
        ("gpus-per-node", job.gpus_per_node, 0),
        ("cpus-per-task", job.cpus_of_a_task, 1),
        ("array", job.array, 1),
        ("max-restarts", job.max_restarts or 0, 0),
    ):
        if value < least:
            raise JobError(f"--{option} is {value}: give {least} or more")
    if job.memory is not None and not MEMORY.fullmatch(job.memory):
        raise JobError(f"--memory is {job.memory!r}: give a number and K, M, G or T, such as 16G")
    if job.time is not None:
        seconds(job.time)
    check_setup(job.setup)
    for name, value in job.environment.items():
        if not VARIABLE.fullmatch(name):
            raise JobError(f"environment: {name!r} is no name of a variable: give letters, digits and underscores")
        if is_secret(name, value):
            raise JobError(
                f"environment: {name} looks like a secret, which a script must not hold: export it in the shell you submit"
                " from, or name a file that holds it"
            )
    for value in (*job.command, *job.environment.values(), str(job.folder), str(job.workdir)):
        if "\0" in value:
            raise JobError(f"{value!r} has a null byte, which no command line holds")


def check_options(scheduler: str, given: dict[str, Any], legal: dict[str, str], shapes: dict[str, type]) -> None:
    """JobError where a profile's setting is none of the `legal` ones (name: meaning), or is of another shape than its own."""
    for key in given:
        if key not in legal:
            close = difflib.get_close_matches(key, legal, 1)
            hint = f"did you mean {close[0]}?" if close else "legal are " + ", ".join(legal)
            raise JobError(f"the {scheduler} option {key} is not known; {hint}")
    for key, kind in shapes.items():
        value = given.get(key)
        if (value is not None and not isinstance(value, kind)) or (kind is int and isinstance(value, bool)):
            what = {dict: "keys and values", list: "a list", str: "text", int: "a whole number"}[kind]
            raise JobError(f"{key}: came {value!r}, legal is {what} ({legal[key]})")


def seconds(time: str) -> int:
    """What 90s, 30m, 4h, 2d, 1-12:00:00, 12:00:00 or 30:00 (minutes and seconds) means."""
    if found := re.fullmatch(r"(\d+)([dhms])", time):
        return int(found[1]) * SPANS[found[2]]
    if found := re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)", time):
        days, hours, minutes, rest = (int(part or 0) for part in found.groups())
        return days * 86400 + hours * 3600 + minutes * 60 + rest
    raise JobError(f"--time is {time!r}: give 30m, 4h, 2d or 1-12:00:00 (days-hours:minutes:seconds)")


def program(job: Job) -> list[str]:
    """What starts lightning-meta there: the interpreter that submits, or a profile's `python`."""
    return [str(job.options.get("python", sys.executable)), "-m", "lightning_meta"]


def command(job: Job) -> str:
    """The whole command line, quoted, from the configuration kept in the job's folder. Each run of an array has its own
    seed, SEED + its number."""
    line = shlex.join([*program(job), *job.arguments(str(job.folder / "config.yaml"))])
    return line + (' --seed_everything "$((SEED + RUN))"' if job.array > 1 else "")


def prologue(job: Job) -> list[str]:
    """Lines that set the scene: the working directory, the environment, a profile's own lines."""
    return [
        f"cd -- {shlex.quote(str(job.workdir))} || exit 1",
        *(f"export {name}={shlex.quote(value)}" for name, value in job.environment.items()),
        *guarded(job.setup, 1),
        *([f"SEED={int(job.options.get('seed', 0))}"] if job.array > 1 else []),
    ]


def guarded(setup: Sequence[str], depth: int) -> list[str]:
    """A profile's lines for bash, which end the script where one fails, a part of a pipeline or of an && list included; a
    line that begins with a test, `[ -f FILE ] && ...`, may fail. What fails inside a function or a file that a line sources is
    that one's affair. `depth` is how many files are being read: 1 in a script, 0 in bash -c."""
    if not setup:
        return []
    apart = all(is_command(line) for line in setup)  # otherwise they belong together, as those of a loop
    where = "line $((LINENO - SETUP)) of its set-up failed with status $code: $BASH_COMMAND"
    lines = [
        f"trap 'code=$?; [ \"${{#BASH_SOURCE[@]}}\" -gt {depth} ] || {ending(where)}' ERR; set -o pipefail; SETUP=$LINENO"
    ]
    for number, line in enumerate(setup, 1):
        lines.append(line)
        if (apart or number == len(setup)) and not re.match(r"\s*(\[|test\s)", line):
            told = f"{f'line {number} of ' if apart else ''}its set-up failed with status $code"
            lines[-1] += f"\ncode=$?; [ $code -eq 0 ] || {ending(told)}; SETUP=$((SETUP + 1))"
    return [*lines, "trap - ERR; set +eu +o pipefail  # whatever those lines asked of the shell"]


def ending(message: str) -> str:
    return f'{{ echo "the job ends: {message}" >&2; exit 1; }}'


def is_command(line: str) -> bool:
    """Return whether bash parses a line as complete by itself. Nothing is run."""
    read = subprocess.run(["bash", "-n", "-c", line], capture_output=True, check=False, stdin=subprocess.DEVNULL)
    return read.returncode == 0 and not read.stderr


def check_setup(setup: Sequence[str]) -> None:
    """JobError for a line that would hide a failure: the status of `export X=$(command)` is that of export."""
    for line in setup:
        if found := re.search(
            r"(?:^|[;&|]\s*)(export|declare|local|readonly|typeset)\s[^;&|]*?(\w+)=[^'\s]*(?:\$\((?!\()|`)", line
        ):
            raise JobError(
                f"setup: {line!r} would go on where the command in it fails: give two lines, {found[2]}=... and"
                f" `{found[1]} {found[2]}`"
            )
