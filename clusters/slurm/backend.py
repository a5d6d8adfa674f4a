"""Slurm, by its own commands."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from clusters.core.job import Backend, Job, JobError, Status, Twin
from clusters.core.job_folder import read_json, tail, write
from clusters.slurm import partition_limits, script
from clusters.slurm.states import ENDED, FIELDS, array_state, found_state, left, parse_accounting, parse_queue

NOTES = "slurm.json"  # in the job's folder: which of several clusters
OWN = ("SBATCH_", "SLURM_JOB", "SQUEUE_", "SINFO_", "SACCT_", "SCANCEL_")  # variables that would change what we ask
TIMEOUT = 60  # seconds for an answer
POLL = 20.0  # seconds between two questions while a log is followed
PATIENCE = 5  # such questions without an answer


class Slurm(Backend):
    """Jobs of Slurm, by its ids. A preempted job saves (LIGHTNING_META_PREEMPTIBLE=1), and its script requeues it.

    Profiles may set account, partition, qos, constraint, reservation; python, the interpreter there; signal_seconds, how
    long before the end of its time a job is told to save; master_addr, where processes meet, if not on the first node.
    """

    name = "slurm"

    def render(self, job: Job) -> str:
        return script.script(job)

    def check(self, job: Job, dry_run: bool = False) -> None:
        """JobError where sinfo tells that the job would wait for ever."""
        if shutil.which("sinfo") is None:
            if not dry_run:
                self._run("sbatch")
            return
        done = self._run("sinfo", "--noheader", f"--format={partition_limits.FORMAT}", check=False)
        partition_limits.check(job, partition_limits.parse(done.stdout))

    def twin(self, job: Job) -> Twin | None:  # noqa: ARG002
        return None  # every submission is a job

    def submit(self, job: Job) -> str:
        rendered = job.folder / "script.txt"
        done = self._run("sbatch", "--parsable", str(rendered), cwd=job.workdir)
        id, _, cluster = done.stdout.strip().splitlines()[-1].partition(";")
        if cluster:
            write(job.folder / NOTES, json.dumps({"cluster": cluster}) + "\n")
        return id

    def statuses(self, jobs: Sequence[tuple[str, Path]]) -> list[Status]:
        """squeue, then accounting, then the file of completed jobs, then what the script left; else unknown. Each is asked
        once for all jobs of a cluster that those before it do not know."""
        found: dict[Path, Status] = {}
        clusters: dict[str, list[tuple[str, Path]]] = {}
        for id, folder in jobs:
            clusters.setdefault(_cluster(folder), []).append((id, folder))
        for cluster, there in clusters.items():
            known = self._known(cluster, list(dict.fromkeys(id for id, _ in there)))
            for id, folder in there:
                states = known.get(id, [])
                found[folder] = found_state(array_state(states) if states else left(folder), folder)
        return [found[folder] for _, folder in jobs]

    def status(self, id: str, folder: Path) -> Status:
        return self.statuses([(id, folder)])[0]

    def logs(self, id: str, folder: Path, follow: bool = False) -> Iterator[str]:
        asked, silent, forgotten = -POLL, 0, False

        def ended() -> bool:
            nonlocal asked, silent, forgotten
            if left(folder).state in ENDED:
                return True
            if time.monotonic() < asked + POLL:
                return False
            asked = time.monotonic()
            try:
                state = self.status(id, folder).state
            except JobError:
                silent += 1
                if silent >= PATIENCE:
                    raise
                return False
            silent, forgotten = 0, state == "unknown"
            return forgotten or state in ENDED

        yield from tail(folder, ended, follow)
        if forgotten:
            raise JobError(
                f"Slurm does not know the job {id} any more, and it left no exit code: this is its log so far"
            )

    def cancel(self, id: str, folder: Path) -> None:
        try:
            write(folder / "cancelled", "")  # which the script looks for before it requeues
        finally:
            self._run("scancel", *_of(_cluster(folder)), id)

    def _known(self, cluster: str, ids: Sequence[str]) -> dict[str, list[Status]]:
        """What Slurm says of jobs, of each run of an array; those that it does not know are not there."""
        known: dict[str, list[Status]] = {}
        for start in range(0, len(ids), 500):  # a command line has its limits
            some = ids[start : start + 500]
            listed = ("--noheader", "--array", "--states=all", f"--Format={FIELDS}", "--jobs", ",".join(some))
            done = self._run("squeue", *_of(cluster), *listed, check=False)
            if done.returncode and "Invalid job id" not in done.stderr:
                raise JobError(f"squeue: {done.stderr.strip() or done.stdout.strip() or 'no answer'}")
            known |= parse_queue(done.stdout)
            for more in (("-X", "--format=JobID,State,ExitCode,Restarts"), ("-c", "--format=JobID,State,ExitCode")):
                if rest := [id for id in some if id not in known]:
                    told = self._run("sacct", *_of(cluster), "-n", "-P", *more, "-j", ",".join(rest), check=False)
                    known |= parse_accounting(told.stdout if told.returncode == 0 else "")
        return known

    def _run(self, *command: str, check: bool = True, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith(OWN)}
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, check=False, cwd=cwd, env=environment, timeout=TIMEOUT
            )
        except FileNotFoundError as error:
            if command[0] == "sacct":  # which a site without accounting may not have
                return subprocess.CompletedProcess(command, 127, "", "")
            raise JobError(
                f"no `{command[0]}` on this machine: submit from a login node of the cluster, or load its Slurm module"
            ) from error
        except subprocess.TimeoutExpired as error:
            raise JobError(f"{command[0]} gives no answer within {TIMEOUT} seconds: try again later") from error
        if check and done.returncode:
            raise JobError(f"{command[0]}: {done.stderr.strip() or done.stdout.strip()}")
        return done


def _cluster(folder: Path) -> str:
    return str(read_json(folder / NOTES).get("cluster", ""))


def _of(cluster: str) -> list[str]:
    return [f"--clusters={cluster}"] if cluster else []
