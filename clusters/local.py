"""This machine as a scheduler of one queue: processes that outlive the shell that started them."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from clusters import runner, shell
from clusters.folder import tail, write
from clusters.job import Backend, Job, JobError, Status

GRACE = 30.0  # seconds between TERM and KILL


class Local(Backend):
    """A session of processes for each job. Its first one, `runner.py`, writes the exit code; the id is the folder's name."""

    name = "local"

    def render(self, job: Job) -> str:
        shell.check(job)
        if job.nodes > 1:
            raise JobError(
                f"--nodes is {job.nodes}, and local is this machine alone: leave it out, or submit elsewhere"
            )
        if job.passthrough:
            raise JobError(f"local has no scheduler to pass {shlex.join(job.passthrough)} to")
        run = shlex.quote(job.folder.name)
        lines = ["#!/bin/bash", *shell.prologue(job)]
        if job.array == 1:
            lines += [f"export LIGHTNING_META_RUN={run}", f"exec {shell.command(job)}"]
        else:
            lines += [
                "ended=0",
                f"for RUN in {' '.join(map(str, range(job.array)))}; do",
                f'  LIGHTNING_META_RUN={run}-"$RUN" {shell.command(job)} || ended=$?',
                "done",
                'exit "$ended"',
            ]
        return "\n".join(lines) + "\n"

    def submit(self, job: Job) -> str:
        """`render` is in the job's folder already, as script.txt."""
        command = [sys.executable, "-P", str(Path(runner.__file__).resolve()), str(job.folder)]
        with (job.folder / "log.txt").open("ab") as log:
            started = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd="/"
            )
        started.returncode = 0  # nobody here waits for it: it outlives this process
        facts = {"pid": started.pid, "started": born(started.pid), "boot": boot()}
        write(job.folder / "process.json", json.dumps(facts) + "\n")
        return job.folder.name

    def status(self, id: str, folder: Path) -> Status:  # noqa: ARG002  the folder says it all
        cancelled = (folder / "cancelled").exists()
        ended = _read(folder / "exit.json")
        if not ended and _alive(folder):
            return Status("running", detail="cancelling" if cancelled else "")
        ended = ended or _read(folder / "exit.json")  # it may have come in between
        if cancelled:
            return Status("cancelled", ended.get("code"))
        if ended:
            return Status("failed" if ended["code"] else "succeeded", ended["code"])
        return Status("failed", detail="its processes are gone and left no exit code: killed, or the machine went down")

    def logs(self, id: str, folder: Path, follow: bool = False) -> Iterator[str]:
        return tail(folder, lambda: self.status(id, folder).state != "running", follow)

    def cancel(self, id: str, folder: Path) -> None:
        """TERM to all of the job's processes, and KILL to those that are there half a minute later."""
        if self.status(id, folder).state != "running":
            return
        write(folder / "cancelled", "")
        for sign, patience in ((signal.SIGTERM, GRACE), (signal.SIGKILL, 5.0)):
            with suppress(ProcessLookupError):
                os.killpg(_read(folder / "process.json")["pid"], sign)
            end = time.monotonic() + patience
            while time.monotonic() < end:
                if not _alive(folder):
                    return
                time.sleep(0.1)
        raise JobError(f"job {id} does not end, not even killed")


def _read(path: Path) -> dict[str, int]:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return {}


def _alive(folder: Path) -> bool:
    """Whether the process that was started is there: the same number, born at the same time, since the same boot."""
    facts = _read(folder / "process.json")
    return bool(facts) and facts.get("boot") == boot() and born(facts["pid"]) == facts["started"] != ""


def born(pid: int) -> str:
    """When a process started, in whatever unit the system tells it; empty where it is none, or is dead."""
    proc = Path(f"/proc/{pid}/stat")
    if Path("/proc/self/stat").exists():
        with suppress(OSError):
            fields = proc.read_text().rpartition(")")[2].split()
            return "" if fields[0] in "ZX" else fields[19]
        return ""
    told = subprocess.run(["ps", "-p", str(pid), "-o", "lstart="], capture_output=True, text=True, check=False)
    return told.stdout.strip()


def boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
