"""Slurm's own commands, run as the user would run them."""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from clusters.core.job import JobError, Status
from clusters.slurm.states import FIELDS, parse_accounting, parse_queue

VARIABLES = ("SBATCH_", "SLURM_JOB", "SQUEUE_", "SINFO_", "SACCT_", "SCANCEL_")  # that would change what we ask
TIMEOUT = 60  # seconds for an answer


def run(*command: str, check: bool = True, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command of Slurm's.

    Raises:
        JobError: It is not installed (sacct may be missing), gives no answer in time or, with `check`, fails.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith(VARIABLES)}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, cwd=cwd, env=environment, timeout=TIMEOUT
        )
    except FileNotFoundError as error:
        if command[0] == "sacct":  # which a site without accounting may not have
            return subprocess.CompletedProcess(command, 127, "", "")
        raise JobError(
            f"{command[0]} is not on this machine: submit from a login node of the cluster, or load its Slurm module"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise JobError(f"{command[0]} gives no answer within {TIMEOUT} seconds: try again later") from error
    if check and done.returncode:
        raise JobError(f"{command[0]}: {done.stderr.strip() or done.stdout.strip()}")
    return done


def cluster_option(cluster: str) -> list[str]:
    """Return the option that names one of several clusters; none for an empty name."""
    return [f"--clusters={cluster}"] if cluster else []


def known_states(cluster: str, ids: Sequence[str]) -> dict[str, list[Status]]:
    """Return the states of all runs of each job, from squeue, accounting or the file of completed jobs.

    Each is asked only about the jobs that those before it do not know. Jobs that none of them knows are missing.
    """
    known: dict[str, list[Status]] = {}
    for start in range(0, len(ids), 500):  # a command line has its limits
        some = ids[start : start + 500]
        listing = ("--noheader", "--array", "--states=all", f"--Format={FIELDS}", "--jobs", ",".join(some))
        done = run("squeue", *cluster_option(cluster), *listing, check=False)
        if done.returncode and "Invalid job id" not in done.stderr:
            raise JobError(f"squeue: {done.stderr.strip() or done.stdout.strip() or 'no answer'}")
        known |= parse_queue(done.stdout)
        for source in (("-X", "--format=JobID,State,ExitCode,Restarts"), ("-c", "--format=JobID,State,ExitCode")):
            if rest := [id for id in some if id not in known]:
                done = run("sacct", *cluster_option(cluster), "-n", "-P", *source, "-j", ",".join(rest), check=False)
                known |= parse_accounting(done.stdout if done.returncode == 0 else "")
    return known
