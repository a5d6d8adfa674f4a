"""Set-up lines of a profile: bash that runs before the command, and ends the job if a line fails."""

import re
import subprocess
from collections.abc import Sequence

from clusters.core.job import JobError


def guard(setup: Sequence[str], depth: int) -> list[str]:
    """Return the lines for bash such that the script ends if one of them fails.

    A failing part of a pipeline or of an && list counts; a line that begins with a test, `[ -f FILE ] && ...`, may fail. Of a
    function or a file that a line sources, only the status counts.

    Args:
        setup: The lines as the user gave them.
        depth: The number of files that bash is reading: 1 in a script, 0 in `bash -c`.
    """
    if not setup:
        return []
    separate = all(is_command(line) for line in setup)  # otherwise they belong together, like those of a loop
    where = "line $((LINENO - SETUP)) of its set-up failed with status $code: $BASH_COMMAND"
    lines = [
        f"trap 'code=$?; [ \"${{#BASH_SOURCE[@]}}\" -gt {depth} ] || {end_job(where)}' ERR; set -o pipefail; SETUP=$LINENO"
    ]
    for number, line in enumerate(setup, 1):
        lines.append(line)
        if (separate or number == len(setup)) and not re.match(r"\s*(\[|test\s)", line):
            message = f"{f'line {number} of ' if separate else ''}its set-up failed with status $code"
            lines[-1] += f"\ncode=$?; [ $code -eq 0 ] || {end_job(message)}; SETUP=$((SETUP + 1))"
    return [*lines, "trap - ERR; set +eu +o pipefail  # undo what those lines asked of the shell"]


def with_setup(command: list[str], setup: Sequence[str]) -> list[str]:
    """Return the argument list that runs the set-up lines, ends if one fails, and then becomes the command."""
    return ["bash", "-c", "\n".join([*guard(setup, 0), 'exec "$@"']), "bash", *command] if setup else command


def end_job(message: str) -> str:
    """Return bash that prints why the job ends, and ends it."""
    return f'{{ echo "the job ends: {message}" >&2; exit 1; }}'


def is_command(line: str) -> bool:
    """Return whether bash parses a line as complete by itself. Nothing is run."""
    parsed = subprocess.run(["bash", "-n", "-c", line], capture_output=True, check=False, stdin=subprocess.DEVNULL)
    return parsed.returncode == 0 and not parsed.stderr


def check_setup(setup: Sequence[str]) -> None:
    """Raise JobError for a line that would hide a failure: the status of `export X=$(command)` is that of export."""
    for line in setup:
        if match := re.search(
            r"(?:^|[;&|]\s*)(export|declare|local|readonly|typeset)\s[^;&|]*?(\w+)=[^'\s]*(?:\$\((?!\()|`)", line
        ):
            raise JobError(
                f"setup: {line!r} would continue after a failure of the command in it: give two lines, {match[2]}=... and"
                f" `{match[1]} {match[2]}`"
            )
