"""This machine as a scheduler of one queue: processes that outlive the shell that started them."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

from clusters.core import quoting
from clusters.core.job import Backend, Job, JobError, Status, Twin
from clusters.core.job_folder import read_json, tail, write
from clusters.core.statuses import one_by_one
from clusters.local import run_script

GRACE = 120.0  # seconds between TERM and KILL, for a checkpoint
SHARED = "this machine is shared with all else that runs on it"


class Local(Backend):
    """A session of processes for each job. Its first one, `run_script.py`, writes the exit code; the id is the folder's name.

    A job that is cancelled or meets its time limit saves its state (LIGHTNING_META_PREEMPTIBLE=1); nothing starts it again.
    """

    name = "local"
    without: ClassVar = {
        "nodes": "local is this machine alone: leave it out, or submit elsewhere",
        "memory": f"{SHARED}, and local limits no memory: leave it out",
        "cpus_per_task": f"{SHARED}, and local reserves no cores: leave it out, or give --env OMP_NUM_THREADS=N",
        "max_restarts": "local puts no job back: leave it out",
    }

    def render(self, job: Job) -> str:
        quoting.check(job)
        if job.passthrough:
            raise JobError(f"local has no scheduler to pass {shlex.join(job.passthrough)} to")
        run = shlex.quote(job.run)
        lines = ["#!/bin/bash"]
        if job.time:
            told = f"SIGUSR1 {_warning(job)} seconds before the end, then " if _warning(job) else ""
            lines += [
                f"# at most {quoting.seconds(job.time)} seconds: {told}SIGTERM, and SIGKILL {run_script.GRACE} seconds later"
            ]
        lines += quoting.prologue(job)
        if job.command[:1] != ("tune",):
            lines += ["export LIGHTNING_META_PREEMPTIBLE=1"]
        if job.array == 1:
            lines += [f"export LIGHTNING_META_RUN={run}", f"exec {quoting.command(job)}"]
        else:
            lines += [
                "ended=0; told=; trap 'told=1' USR1 TERM",
                f"for RUN in {' '.join(map(str, range(job.array)))}; do",
                f'  [ -n "$told" ] || LIGHTNING_META_RUN={run}-"$RUN" {quoting.command(job)} || ended=$?',
                "done",
                'exit "$ended"',
            ]
        return "\n".join(lines) + "\n"

    def check(self, job: Job, dry_run: bool = False) -> None: ...

    def twin(self, job: Job) -> Twin | None:  # noqa: ARG002
        return None  # every submission is a job

    def submit(self, job: Job) -> str:
        """`render` is in the job's folder already, as script.txt."""
        limit = [str(quoting.seconds(job.time)), str(_warning(job))] if job.time else []
        command = [sys.executable, "-P", str(Path(run_script.__file__).resolve()), str(job.folder), *limit]
        with (job.folder / "log.txt").open("ab") as log:
            started = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd="/"
            )
        started.returncode = 0  # nobody here waits for it: it outlives this process
        facts = {"pid": started.pid, "started": born(started.pid), "boot": boot()}
        try:
            write(job.folder / "process.json", json.dumps(facts) + "\n")
        except JobError:
            os.killpg(started.pid, signal.SIGKILL)
            raise
        return job.folder.name

    def statuses(self, jobs: Sequence[tuple[str, Path]]) -> list[Status]:
        return one_by_one(self.status, jobs)

    def status(self, id: str, folder: Path) -> Status:  # noqa: ARG002  the folder says it all
        cancelled = (folder / "cancelled").exists()
        ended = read_json(folder / "exit.json")
        if not ended and _alive(folder):
            return Status("running", detail="cancelling" if cancelled else "")
        ended = ended or read_json(folder / "exit.json")  # it may have come in between
        code, limit = ended.get("code"), ended.get("limit")
        if cancelled:
            return Status("cancelled", code)
        if isinstance(code, int):
            met = f"it met its time limit of {limit} seconds" if limit and code else ""
            return Status("failed" if code else "succeeded", code, detail=met)
        return Status("failed", detail="its processes are gone and left no exit code: killed, or the machine went down")

    def logs(self, id: str, folder: Path, follow: bool = False) -> Iterator[str]:
        return tail(folder, lambda: self.status(id, folder).state != "running", follow)

    def cancel(self, id: str, folder: Path) -> None:
        """TERM to all of the job's processes, and KILL to those that are there GRACE seconds later."""
        if self.status(id, folder).state != "running":
            return
        write(folder / "cancelled", "")
        for sign, patience in ((signal.SIGTERM, GRACE), (signal.SIGKILL, 5.0)):
            with suppress(ProcessLookupError):
                os.killpg(read_json(folder / "process.json")["pid"], sign)
            end = time.monotonic() + patience
            while time.monotonic() < end:
                if not _alive(folder):
                    return
                time.sleep(0.1)
        raise JobError(f"job {id} does not end, not even killed")


def _warning(job: Job) -> int:
    """Seconds before the end of its time at which a job that can save is told to: two minutes, a quarter of a short time."""
    return min(120, quoting.seconds(job.time) // 4) if job.time and job.command[:1] == ("fit",) else 0


def _alive(folder: Path) -> bool:
    """Whether the process that was started is there: the same number, born at the same time, since the same boot."""
    facts = read_json(folder / "process.json")
    pid = facts.get("pid")
    return isinstance(pid, int) and pid > 1 and facts.get("boot") == boot() and born(pid) == facts.get("started") != ""


def born(pid: int) -> str:
    """When a process started, in whatever unit the system tells it; empty where it is none, or is dead."""
    proc = Path(f"/proc/{pid}/stat")
    if Path("/proc/self/stat").exists():
        with suppress(OSError):
            fields = proc.read_text().rpartition(")")[2].split()
            return "" if fields[0] in "ZX" else fields[19]
        return ""
    told = subprocess.run(
        ["ps", "-p", str(pid), "-o", "lstart="], capture_output=True, text=True, check=False, timeout=60
    )
    return told.stdout.strip()


def boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
