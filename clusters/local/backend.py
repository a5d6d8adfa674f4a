"""This machine as a scheduler without a queue: processes that outlive the shell that started them."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

from clusters.core.backend import Backend
from clusters.core.files import read_json, write_whole
from clusters.core.job import ExistingJob, Job, JobError, Status
from clusters.core.log_files import tail
from clusters.core.shell_script import PYTHON
from clusters.core.statuses import one_by_one
from clusters.local import run_script
from clusters.local.processes import identity, is_alive
from clusters.local.script import local_script, time_limit

CANCEL_SECONDS = float(run_script.GRACE)  # seconds between SIGTERM and SIGKILL of a job that is cancelled


class Local(Backend):
    """Jobs on this machine, each a session of processes. The id is the name of the job's folder.

    The first process, `run_script.py`, writes the exit code. A job that is cancelled or meets its time limit saves its state
    (LIGHTNING_META_PREEMPTIBLE=1); nothing starts it again.
    """

    name = "local"
    summary = "this machine, as processes that outlive the shell"
    options: ClassVar = {"python": PYTHON}
    unsupported: ClassVar = {
        "nodes": "leave it out, as local is one machine, or submit elsewhere",
        "memory": "leave it out, as local limits no memory",
        "cpus_per_task": "leave it out, as local reserves no cores, or give --env OMP_NUM_THREADS=N",
        "max_restarts": "leave it out, as local restarts no job",
    }
    shares_files = True

    def script(self, job: Job) -> str:
        return local_script(job)

    def check(self, job: Job, rendered: str, dry_run: bool = False) -> None: ...

    def find_existing(self, job: Job, rendered: str) -> ExistingJob | None:  # noqa: ARG002
        return None  # every submission is a new job

    def submit(self, job: Job, rendered: str) -> str:  # noqa: ARG002  script.txt is run
        command = [sys.executable, "-P", str(Path(run_script.__file__).resolve()), str(job.folder)]
        command += map(str, time_limit(job))
        with (job.folder / "log.txt").open("ab") as log:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd="/"
            )
        process.returncode = 0  # nobody here waits for it: it outlives this process
        try:
            write_whole(job.folder / "process.json", json.dumps(identity(process.pid)) + "\n")
        except JobError:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        return job.folder.name

    def statuses(self, jobs: Sequence[tuple[str, Path]]) -> list[Status]:
        return one_by_one(self.status, jobs)

    def status(self, id: str, folder: Path) -> Status:  # noqa: ARG002  the folder says it all
        cancelled = (folder / "cancelled").exists()
        ended = read_json(folder / "exit.json")
        if not ended and is_alive(folder):
            return Status("running", detail="cancelling" if cancelled else "")
        ended = ended or read_json(folder / "exit.json")  # which may have been written in between
        code, limit = ended.get("code"), ended.get("limit")
        if cancelled:
            return Status("cancelled", code)
        if isinstance(code, int):
            detail = f"it met its time limit of {limit} seconds" if limit and code else ""
            return Status("failed" if code else "succeeded", code, detail=detail)
        return Status(
            "failed", detail="its processes have ended without an exit code: killed, or the machine went down"
        )

    def logs(self, id: str, folder: Path, follow: bool = False) -> Iterator[str]:
        return tail(folder, lambda: self.status(id, folder).state != "running", follow)

    def cancel(self, id: str, folder: Path) -> None:
        """Send SIGTERM to all of the job's processes, and SIGKILL to those that still run CANCEL_SECONDS later."""
        if self.status(id, folder).state != "running":
            return
        write_whole(folder / "cancelled", "")
        for number, seconds in ((signal.SIGTERM, CANCEL_SECONDS), (signal.SIGKILL, 5.0)):
            with suppress(ProcessLookupError):
                os.killpg(read_json(folder / "process.json")["pid"], number)
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                if not is_alive(folder):
                    return
                time.sleep(0.1)
        raise JobError(f"job {id} has not ended, although it was killed: look at its processes")
