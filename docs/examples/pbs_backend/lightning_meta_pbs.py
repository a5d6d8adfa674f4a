"""A back end for PBS in a distribution of its own: a complete example for `lightning-meta submit pbs`."""

import shlex
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

from clusters.core.backend import Backend
from clusters.core.files import write_whole
from clusters.core.job import ExistingJob, Job, JobError, Status
from clusters.core.log_files import tail
from clusters.core.options import Option
from clusters.core.passthrough import Passthrough
from clusters.core.shell_script import PYTHON, command_line, prologue
from clusters.core.statuses import one_by_one


class PBS(Backend):
    """Jobs on one node of PBS, by its ids."""

    name = "pbs"
    summary = "PBS, from a login node"
    options: ClassVar = {
        "python": PYTHON,
        "queue": Option(str, "the queue that the job waits in"),
        "project": Option(str, "the project that is charged"),
    }
    unsupported: ClassVar = {
        "nodes": "leave it out, as this back end uses one node",
        "array": "submit once per seed, with --seed_everything",
        "max_restarts": "leave it out, as this back end restarts no job",
    }
    passthrough = Passthrough("qsub", "-Wumask=022")
    shares_files = True

    def script(self, job: Job) -> str:
        size = f"select=1:ncpus={job.node_cpus}:ngpus={job.gpus_per_node}"
        options = [f"-N {job.name}", f"-l {size}" + (f":mem={job.memory.lower()}b" if job.memory else "")]
        options += [
            f"-{flag} {job.options[key]}" for flag, key in (("q", "queue"), ("P", "project")) if key in job.options
        ]
        lines = ["#!/bin/bash", *(f"#PBS {option}" for option in [*options, *job.passthrough])]
        lines += [f"FOLDER={shlex.quote(str(job.folder))}", 'exec > "$FOLDER/log.txt" 2>&1']
        lines += ["""trap 'echo "$?" > "$FOLDER/exit-code"' EXIT""", *prologue(job)]
        lines += [f"export LIGHTNING_META_RUN={shlex.quote(job.run_name)} LIGHTNING_META_PREEMPTIBLE=1"]
        return "\n".join([*lines, command_line(job)]) + "\n"

    def check(self, job: Job, rendered: str, dry_run: bool = False) -> None: ...

    def find_existing(self, job: Job, rendered: str) -> ExistingJob | None:  # noqa: ARG002
        return None  # every submission is a new job

    def submit(self, job: Job, rendered: str) -> str:  # noqa: ARG002  script.txt is sent
        return _run("qsub", str(job.folder / "script.txt")).strip()

    def statuses(self, jobs: Sequence[tuple[str, Path]]) -> list[Status]:
        return one_by_one(self.status, jobs)

    def status(self, id: str, folder: Path) -> Status:
        if (folder / "cancelled").exists():
            return Status("cancelled")
        if (folder / "exit-code").exists():
            code = int((folder / "exit-code").read_text())
            return Status("failed" if code else "succeeded", code)
        state = _run("qstat", id).splitlines()[-1].split()[4]  # the column S
        return Status("running" if state in "RE" else "pending", detail=state)

    def logs(self, id: str, folder: Path, follow: bool = False) -> Iterator[str]:
        return tail(folder, lambda: self.status(id, folder).state not in ("pending", "running"), follow)

    def cancel(self, id: str, folder: Path) -> None:
        _run("qdel", id)
        write_whole(folder / "cancelled", "")


def _run(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise JobError(f"{command[0]} cannot be run ({error}): submit from a login node of the cluster") from error
    if done.returncode:
        raise JobError(f"{command[0]}: {done.stderr.strip()}")
    return done.stdout
