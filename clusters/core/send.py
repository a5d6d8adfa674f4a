"""Sending a job: render it, keep it in a folder of its own, hand it to the scheduler, and record its id."""

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from clusters.core.backend import Backend
from clusters.core.job import ExistingJob, Job, JobError
from clusters.core.job_folder import (
    all_jobs,
    discard_folder,
    find_job,
    free_folders,
    keep_job,
    make_folder,
    record_job,
)


class Sent(NamedTuple):
    """A job that the scheduler has.

    Attributes:
        id: Its id.
        folder: Its folder.
        existing: The job that made it needless, of the same id, if nothing was started.
    """

    id: str
    folder: Path
    existing: ExistingJob | None


def preview(backend: Backend, job: Job) -> str:
    """Return what `send` would send. Nothing is written, and the scheduler's client may be missing."""
    rendered = backend.render(job)
    backend.check(job, rendered, dry_run=True)
    return rendered


def send(backend: Backend, job: Job) -> Sent:
    """Send a job, unless the scheduler has one that differs in nothing but its folder.

    Args:
        backend: The scheduler.
        job: The job. It gets a new folder, whatever its own says.

    Raises:
        JobError: The job is not legal, cannot be kept or is refused; no folder is left then.
    """
    folders = free_folders(job.name)
    job = replace(job, folder=next(folders))
    rendered = backend.render(job)
    backend.check(job, rendered)
    existing = backend.find_existing(job, rendered)
    if existing and any(record.id == existing.id for record in all_jobs()[0]):
        return Sent(existing.id, find_job(existing.id).folder, existing)
    while not make_folder(job.folder):  # somebody else has just made it
        job = replace(job, folder=next(folders))
        rendered = backend.render(job)
    keep_job(job, rendered)
    try:
        id = existing.id if existing else backend.submit(job, rendered)
    except BaseException:
        discard_folder(job.folder)
        raise
    try:
        record_job(job, backend.name, id)
    except JobError as error:
        raise JobError(f"the job {id} was sent to {backend.name}, but {error}") from error
    return Sent(id, job.folder, existing)
