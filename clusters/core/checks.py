"""Checks of a job that are the same for every scheduler."""

import re

from clusters.core.job import Job, JobError
from clusters.core.setup_lines import check_setup
from clusters.core.units import seconds

JOB_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def check_job(job: Job) -> None:
    """Check that schedulers and file systems can hold the job's name, numbers, variables and words.

    Raises:
        JobError: One of them cannot be held.
    """
    if not JOB_NAME.fullmatch(job.name):
        raise JobError(
            f"the job's name is {job.name!r}: give at most 64 letters, digits, dots, dashes and underscores, and begin with"
            " none of the dots and dashes"
        )
    for option, value, least in (
        ("nodes", job.nodes, 1),
        ("gpus-per-node", job.gpus_per_node, 0),
        ("cpus-per-task", job.task_cpus, 1),
        ("array", job.array, 1),
        ("max-restarts", job.max_restarts or 0, 0),
    ):
        if value < least:
            raise JobError(f"--{option} is {value}: give {least} or more")
    if job.time is not None:
        seconds(job.time)
    check_setup(job.setup)
    for name in job.environment:
        if not VARIABLE.fullmatch(name):
            raise JobError(f"environment: {name!r} is not the name of a variable: give letters, digits and underscores")
    for value in (*job.command, *job.environment.values(), str(job.folder), str(job.workdir)):
        if "\0" in value:
            raise JobError(f"{value!r} has a null byte, which no command line can hold: leave it out")
