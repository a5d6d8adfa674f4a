"""The shell script of a job on this machine."""

import shlex

from clusters.core.job import Job
from clusters.core.shell_script import command_line, prologue
from clusters.core.units import seconds, warning_seconds
from clusters.local.run_script import GRACE


def local_script(job: Job) -> str:
    """Return the whole script. The runs of an array follow one another."""
    run = shlex.quote(job.run_name)
    lines = ["#!/bin/bash"]
    if job.time:
        warning = time_limit(job)[1]
        first = f"SIGUSR1 {warning} seconds before the end, then " if warning else ""
        lines += [f"# at most {seconds(job.time)} seconds: {first}SIGTERM, and SIGKILL {GRACE} seconds later"]
    lines += prologue(job)
    if not job.is_search:
        lines += ["export LIGHTNING_META_PREEMPTIBLE=1"]
    if job.array == 1:
        lines += [f"export LIGHTNING_META_RUN={run}", f"exec {command_line(job)}"]
    else:
        lines += [
            "failed=0; stopped=; trap 'stopped=1' USR1 TERM",
            f"for RUN in {' '.join(map(str, range(job.array)))}; do",
            f'  [ -n "$stopped" ] || LIGHTNING_META_RUN={run}-"$RUN" {command_line(job)} || failed=$?',
            "done",
            'exit "$failed"',
        ]
    return "\n".join(lines) + "\n"


def time_limit(job: Job) -> list[int]:
    """Return the seconds that a job may take, and how long before their end a job that can save is asked to (0: never)."""
    if not job.time:
        return []
    return [seconds(job.time), warning_seconds(job) if job.command[:1] == ("fit",) else 0]
