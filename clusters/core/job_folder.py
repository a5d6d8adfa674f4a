"""Job folders: one per job, found again by the job's id from any shell on any day."""

import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from clusters.core.files import read_json, write_whole
from clusters.core.job import Job, JobError
from clusters.core.versions import versions


class Record(NamedTuple):
    """The facts in job.json about a submitted job."""

    id: str
    backend: str
    name: str
    command: list[str]
    workdir: str
    when: str
    folder: Path


def jobs_folder() -> Path:
    """Return the folder of all jobs of this user: LIGHTNING_META_JOBS, or lightning-meta/jobs in the state folder of XDG."""
    if chosen := os.environ.get("LIGHTNING_META_JOBS"):
        return Path(chosen).expanduser().resolve()
    state = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(state, "lightning-meta", "jobs").expanduser().resolve()


def placeholder_folder(name: str) -> Path:
    """Return what a dry run shows in place of the job's folder."""
    return jobs_folder() / f"{name}-TIMESTAMP"


def free_folders(name: str) -> Iterator[Path]:
    """Yield paths for a job's folder, NAME-TIMESTAMP and then numbered ones. Makes none of them."""
    stem, root = f"{name}-{time.strftime('%Y%m%d-%H%M%S')}", jobs_folder()
    for i in range(1000):
        path = root / (f"{stem}-{i}" if i else stem)
        if not path.exists():
            yield path
    raise JobError(f"{root} is full of jobs of this second: try again")


def make_folder(path: Path) -> bool:
    """Make a job's folder, for its owner only. Returns False if somebody else has just made it."""
    try:
        path.mkdir(parents=True, mode=0o700)
    except FileExistsError:
        return False
    except OSError as error:
        raise JobError(
            f"{path} cannot be made ({error.strerror}): set LIGHTNING_META_JOBS to another folder"
        ) from error
    return True


def keep_job(job: Job, rendered: str) -> None:
    """Write what the job is into its folder, before it is sent: script.txt, config.yaml, versions.json.

    Raises:
        JobError: It cannot be written; the folder is removed.
    """
    try:
        write_whole(job.folder / "script.txt", rendered)
        if job.config is not None:
            write_whole(job.folder / "config.yaml", job.config)
        write_whole(job.folder / "versions.json", json.dumps(versions(job.workdir), indent=1) + "\n")
        write_whole(job.folder / "job.json.reserved", " " * 4096)  # so that a full disk is met before the job is sent
    except JobError:
        discard_folder(job.folder)
        raise


def discard_folder(folder: Path) -> None:
    """Remove the folder of a job that was not sent."""
    shutil.rmtree(folder, ignore_errors=True)


def record_job(job: Job, backend: str, id: str) -> None:
    """Write job.json, by which the job is found."""
    facts = {
        "id": id,
        "backend": backend,
        "name": job.name,
        "command": list(job.command),
        "workdir": str(job.workdir),
        "when": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "nodes": job.nodes,
        "gpus_per_node": job.gpus_per_node,
        "array": job.array,
    }
    (job.folder / "job.json.reserved").unlink(missing_ok=True)
    write_whole(job.folder / "job.json", json.dumps(facts, indent=1) + "\n")


def all_jobs() -> tuple[list[Record], list[str]]:
    """Return every job of this user, the newest first, and one message about each job.json that cannot be read.

    A folder without job.json belongs to a job that was not sent.
    """
    jobs: list[Record] = []
    problems: list[str] = []
    kinds = {**dict.fromkeys(Record._fields[:-1], str), "command": list}
    for path in jobs_folder().glob("*/job.json"):
        try:
            facts = read_json(path)
            for key, kind in kinds.items():
                value = facts.get(key)
                if not isinstance(value, kind) or (isinstance(value, str) and not value.isprintable()):
                    raise JobError(
                        f"{path} is not the record of a job ({key} is {str(value)[:80]!r}): remove its folder"
                    )
            jobs.append(Record(**{key: facts[key] for key in kinds}, folder=path.parent))
        except JobError as error:
            problems.append(str(error))
    return sorted(jobs, key=lambda job: (job.when, job.folder.name), reverse=True), problems


def find_job(id: str) -> Record:
    """Return the job of this id, or in the folder of this name, or the only one of this name.

    Raises:
        JobError: There is none, there are several, or its record cannot be read.
    """
    jobs, problems = all_jobs()
    matches = [job for job in jobs if id in (job.id, job.folder.name)] or [job for job in jobs if id == job.name]
    if len(matches) == 1:
        return matches[0]
    if matches:
        what = "id" if id in [job.id for job in matches] else "name"
        listed = ", ".join(job.folder.name for job in matches[:5]) + (", ..." if len(matches) > 5 else "")
        raise JobError(f"{len(matches)} jobs have the {what} {id}: give one by its folder, the newest first: {listed}")
    if broken := [problem for problem in problems if f"/{id}/job.json" in problem]:
        raise JobError(broken[0])
    last = f"; the newest are {', '.join(job.id for job in jobs[:5])}" if jobs else ""
    raise JobError(f"{id!r} is not a job below {jobs_folder()}{last}: give one that `lightning-meta jobs list` shows")
