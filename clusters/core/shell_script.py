"""The parts of a job's shell script that every scheduler shares. Everything that a user gave is quoted."""

import shlex
import sys

from clusters.core.job import Job
from clusters.core.options import Option
from clusters.core.setup_lines import guard

PYTHON = Option(str, "the Python interpreter that runs lightning-meta in the job; by default the one that submits")


def interpreter(job: Job) -> str:
    """Return the Python interpreter of a job that sees the submitter's files."""
    return str(job.options.get("python") or sys.executable)


def command_line(job: Job) -> str:
    """Return the quoted command line, which reads the configuration kept in the job's folder.

    Each run of an array has a seed of its own: $SEED + $RUN, its number.
    """
    words = [interpreter(job), "-m", "lightning_meta", *job.arguments(str(job.folder / "config.yaml"))]
    return shlex.join(words) + (' --seed_everything "$((SEED + RUN))"' if job.array > 1 else "")


def prologue(job: Job) -> list[str]:
    """Return the lines that set the working directory and the variables, and run the set-up lines."""
    return [
        f"cd -- {shlex.quote(str(job.workdir))} || exit 1",
        *(f"export {name}={shlex.quote(value)}" for name, value in job.environment.items()),
        *guard(job.setup, 1),
        *([f"SEED={job.seed}"] if job.array > 1 else []),
    ]
