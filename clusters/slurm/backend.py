"""Slurm, through its own commands."""

import json
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

from clusters.core.backend import Backend
from clusters.core.client import Client
from clusters.core.files import read_json, write_whole
from clusters.core.job import ExistingJob, Job, JobError, Status
from clusters.core.log_files import tail
from clusters.core.options import Option
from clusters.core.passthrough import Passthrough
from clusters.core.shell_script import PYTHON
from clusters.slurm import partitions
from clusters.slurm.client import cluster_option, known_states, run
from clusters.slurm.script import slurm_script
from clusters.slurm.states import ENDED, array_state, cancelled_state, left_state

NOTES = "slurm.json"  # in the job's folder: which of several clusters
POLL = 20.0  # seconds between two questions while a log is followed
MOST_UNANSWERED = 5  # questions in a row without an answer


class Slurm(Backend):
    """Jobs on Slurm, by its ids.

    A preempted job saves its state (LIGHTNING_META_PREEMPTIBLE=1), and its script requeues it.
    """

    name = "slurm"
    summary = "Slurm, from a login node"
    options: ClassVar = {
        "python": PYTHON,
        "account": Option(str, "the account that is charged"),
        "partition": Option(str, "the partition, or several with commas between them"),
        "qos": Option(str, "the quality of service"),
        "constraint": Option(str, "features that the nodes must have"),
        "reservation": Option(str, "the reservation to run in"),
        "signal_seconds": Option(int, "how long before its time limit a job is asked to save; 120 by default"),
        "master_addr": Option(str, "where the processes meet; by default on the first node"),
        "object_store_memory": Option(int, "bytes of Ray's object store per node, for a search"),
    }
    passthrough = Passthrough("sbatch", "--exclusive")
    shares_files = True
    client = Client("submit from a login node of the cluster, or load its Slurm module", programs=("sbatch",))

    def script(self, job: Job) -> str:
        return slurm_script(job)

    def check(self, job: Job, rendered: str, dry_run: bool = False) -> None:  # noqa: ARG002
        """Raise JobError if sinfo shows that the job would wait for ever."""
        if shutil.which("sinfo") is None:
            if not dry_run:
                run("sbatch")
            return
        done = run("sinfo", "--noheader", f"--format={partitions.FORMAT}", check=False)
        partitions.check(job, partitions.parse(done.stdout))

    def find_existing(self, job: Job, rendered: str) -> ExistingJob | None:  # noqa: ARG002
        return None  # every submission is a new job

    def submit(self, job: Job, rendered: str) -> str:  # noqa: ARG002  script.txt is sent
        done = run("sbatch", "--parsable", str(job.folder / "script.txt"), cwd=job.workdir)
        id, _, cluster = done.stdout.strip().splitlines()[-1].partition(";")
        if cluster:
            write_whole(job.folder / NOTES, json.dumps({"cluster": cluster}) + "\n")
        return id

    def statuses(self, jobs: Sequence[tuple[str, Path]]) -> list[Status]:
        """Return what Slurm knows of the jobs, else what their scripts left, else unknown. Each cluster is asked once."""
        statuses: dict[Path, Status] = {}
        clusters: dict[str, list[tuple[str, Path]]] = {}
        for id, folder in jobs:
            clusters.setdefault(_cluster(folder), []).append((id, folder))
        for cluster, there in clusters.items():
            known = known_states(cluster, list(dict.fromkeys(id for id, _ in there)))
            for id, folder in there:
                runs = known.get(id, [])
                statuses[folder] = cancelled_state(array_state(runs) if runs else left_state(folder), folder)
        return [statuses[folder] for _, folder in jobs]

    def status(self, id: str, folder: Path) -> Status:
        return self.statuses([(id, folder)])[0]

    def logs(self, id: str, folder: Path, follow: bool = False) -> Iterator[str]:
        asked, unanswered, forgotten = -POLL, 0, False

        def ended() -> bool:
            nonlocal asked, unanswered, forgotten
            if left_state(folder).state in ENDED:
                return True
            if time.monotonic() < asked + POLL:
                return False
            asked = time.monotonic()
            try:
                state = self.status(id, folder).state
            except JobError:
                unanswered += 1
                if unanswered >= MOST_UNANSWERED:
                    raise
                return False
            unanswered, forgotten = 0, state == "unknown"
            return forgotten or state in ENDED

        yield from tail(folder, ended, follow)
        if forgotten:
            raise JobError(f"Slurm has forgotten the job {id}, which left no exit code: this is its log so far")

    def cancel(self, id: str, folder: Path) -> None:
        try:
            write_whole(folder / "cancelled", "")  # the script looks for it before it requeues
        finally:
            run("scancel", *cluster_option(_cluster(folder)), id)


def _cluster(folder: Path) -> str:
    return str(read_json(folder / NOTES).get("cluster", ""))
