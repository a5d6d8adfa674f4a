"""States of jobs: how a job ended is kept in its folder, and all others are asked of each scheduler at once."""

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from clusters.core.backend import Backend
from clusters.core.files import read_json, write_whole
from clusters.core.job import JobError, Status
from clusters.core.job_folder import Record

FINAL = ("succeeded", "failed", "cancelled")
FILE = "ended.json"


def kept_status(folder: Path) -> Status | None:
    """Return how the job of this folder ended, if that is known already."""
    try:
        facts = read_json(folder / FILE)
    except JobError:
        return None  # so that the scheduler is asked
    code, restarts = facts.get("exit_code"), facts.get("restarts")
    if facts.get("state") not in FINAL or not isinstance(restarts, int) or not isinstance(code, int | None):
        return None
    return Status(facts["state"], code, restarts, str(facts.get("detail", "")))


def keep_status(folder: Path, status: Status) -> None:
    """Keep how a job ended; a job that has not ended leaves nothing."""
    if status.state in FINAL:
        with suppress(JobError):  # then the scheduler is asked again
            write_whole(folder / FILE, json.dumps(status._asdict()) + "\n")


def job_status(backend: Backend, job: Record) -> Status:
    """Return the state of one job.

    Raises:
        JobError: The scheduler does not answer, or does not know the job.
    """
    if status := kept_status(job.folder):
        return status
    status = backend.status(job.id, job.folder)
    keep_status(job.folder, status)
    return status


def job_statuses(jobs: Sequence[Record], load: Callable[[str], Backend]) -> list[Status]:
    """Return the states of several jobs; those of a scheduler that does not answer are unknown.

    Args:
        jobs: The jobs.
        load: Returns the back end of a name, or raises JobError.
    """
    states = {job.folder: kept_status(job.folder) for job in jobs}
    for name in dict.fromkeys(job.backend for job in jobs):
        asked = [job for job in jobs if job.backend == name and states[job.folder] is None]
        if not asked:
            continue
        try:
            answers = load(name).statuses([(job.id, job.folder) for job in asked])
        except JobError as error:
            answers = [Status("unknown", detail=str(error))] * len(asked)
        for job, answer in zip(asked, answers, strict=True):
            states[job.folder] = answer
            keep_status(job.folder, answer)
    return [states[job.folder] or Status("unknown") for job in jobs]


def one_by_one(ask: Callable[[str, Path], Status], jobs: Sequence[tuple[str, Path]]) -> list[Status]:
    """Return the states of jobs of a scheduler that is asked about each of them; one that raises JobError is unknown."""
    answers = []
    for id, folder in jobs:
        try:
            answers.append(ask(id, folder))
        except JobError as error:
            answers.append(Status("unknown", detail=str(error)))
    return answers
