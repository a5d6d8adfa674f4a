"""How jobs do: what has ended is kept in the job's folder and not asked again, the rest is asked of each scheduler at once."""

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from clusters.core.job import Backend, JobError, Status
from clusters.core.job_folder import Record, read_json, write

FINAL = ("succeeded", "failed", "cancelled")
FILE = "ended.json"


def kept(folder: Path) -> Status | None:
    """How the job of this folder ended, where that is known already."""
    try:
        facts = read_json(folder / FILE)
    except JobError:
        return None  # so that the scheduler is asked
    code, restarts = facts.get("exit_code"), facts.get("restarts")
    if facts.get("state") not in FINAL or not isinstance(restarts, int) or not isinstance(code, int | None):
        return None
    return Status(facts["state"], code, restarts, str(facts.get("detail", "")))


def keep(folder: Path, status: Status) -> None:
    """Keep how a job ended."""
    if status.state in FINAL:
        with suppress(JobError):  # it is asked again
            write(folder / FILE, json.dumps(status._asdict()) + "\n")


def status(backend: Backend, job: Record) -> Status:
    """How one job does."""
    if found := kept(job.folder):
        return found
    found = backend.status(job.id, job.folder)
    keep(job.folder, found)
    return found


def statuses(jobs: Sequence[Record], backend: Callable[[str], Backend]) -> list[Status]:
    """How several do; a scheduler that does not answer leaves its own unknown."""
    found = {job.folder: kept(job.folder) for job in jobs}
    for name in dict.fromkeys(job.backend for job in jobs):
        open_ = [job for job in jobs if job.backend == name and found[job.folder] is None]
        if not open_:
            continue
        try:
            answers = backend(name).statuses([(job.id, job.folder) for job in open_])
        except ValueError as error:  # a JobError, or that there is no such back end here
            answers = [Status("unknown", detail=str(error))] * len(open_)
        for job, answer in zip(open_, answers, strict=True):
            found[job.folder] = answer
            keep(job.folder, answer)
    return [found[job.folder] or Status("unknown") for job in jobs]


def one_by_one(ask: Callable[[str, Path], Status], jobs: Sequence[tuple[str, Path]]) -> list[Status]:
    """For a scheduler that is asked about each."""
    answers = []
    for id, folder in jobs:
        try:
            answers.append(ask(id, folder))
        except JobError as error:
            answers.append(Status("unknown", detail=str(error)))
    return answers
