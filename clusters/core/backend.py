"""The contract of a back end: everything that `lightning-meta submit` and `jobs` know about a scheduler."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, final

from clusters.core.checks import check_job
from clusters.core.client import Client
from clusters.core.job import ExistingJob, Job, JobError, Status
from clusters.core.options import Option, check_options
from clusters.core.passthrough import Passthrough
from clusters.core.secrets import is_secret


class Backend(ABC):
    """A scheduler.

    `script` is a pure function of the job; the other methods use the scheduler's own client and raise JobError if it is
    missing or refuses. Ids are the scheduler's own, as text. A back end is found by its entry point in the group
    `lightning_meta.backends`, whose name is `name`.

    Attributes:
        name: What `submit` calls the back end.
        summary: One line for `submit --help`.
        options: The settings of a profile that only this back end has, by name.
        unsupported: The fields of a job that this scheduler cannot honour, each with the reason and the remedy.
        passthrough: The option of `submit` that hands options to the scheduler unchanged, if it takes any.
        shares_files: Whether a job sees the submitter's files at the same paths. If so, `submit` tries the command here first.
        client: What has to be on this machine to reach the scheduler, if anything; `doctor` looks for it.
        secrets: The reason why a variable must not hold a secret, and where to put it instead.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    options: ClassVar[Mapping[str, Option]] = {}
    unsupported: ClassVar[Mapping[str, str]] = {}
    passthrough: ClassVar[Passthrough | None] = None
    shares_files: ClassVar[bool] = False
    client: ClassVar[Client | None] = None
    secrets: ClassVar[str] = (
        "the job's script must not hold it: export it in the shell that you submit from, or name a file that holds it"
    )

    @final
    def validate(self, job: Job) -> None:
        """Check everything about a job that needs neither a folder nor the scheduler.

        Raises:
            JobError: A field, an option or a variable is not legal here.
        """
        for field, remedy in self.unsupported.items():
            value = getattr(job, field)
            if value is not None and value != getattr(Job, field, None):
                raise JobError(f"--{field.replace('_', '-')} is {value}: {remedy}")
        if job.passthrough and self.passthrough is None:
            raise JobError(f"passthrough is {list(job.passthrough)}: leave it out, as {self.name} passes no options on")
        check_options(job.options, self.options, self.name)
        check_job(job)
        for name, value in job.environment.items():
            if is_secret(name, value):
                raise JobError(f"the variable {name} looks like a secret, and {self.secrets}")

    @final
    def render(self, job: Job) -> str:
        """Return exactly what would be sent, as text.

        Raises:
            JobError: The job is not legal here.
        """
        self.validate(job)
        return self.script(job)

    @abstractmethod
    def script(self, job: Job) -> str:
        """Return what would be sent for a validated job, as text: a shell script, or YAML."""

    @abstractmethod
    def check(self, job: Job, rendered: str, dry_run: bool = False) -> None:
        """Raise JobError if the client is missing, or if the scheduler would refuse the job or let it wait for ever.

        Args:
            job: The job. Its folder need not exist.
            rendered: What `render` returned for it.
            dry_run: Whether nothing will be sent, so that a missing client is not an error.
        """

    @abstractmethod
    def find_existing(self, job: Job, rendered: str) -> ExistingJob | None:
        """Return the job that makes this one needless, or None.

        It differs from this one in nothing but its folder, and has neither failed nor been cancelled.

        Args:
            job: The job. Its folder need not exist.
            rendered: What `render` returned for it.
        """

    @abstractmethod
    def submit(self, job: Job, rendered: str) -> str:
        """Send the job, and return its id.

        Args:
            job: The job. Its folder exists, and holds `rendered` in script.txt.
            rendered: What `render` returned for this job.
        """

    @abstractmethod
    def statuses(self, jobs: Sequence[tuple[str, Path]]) -> list[Status]:
        """Return the states of jobs, each given by its id and its folder, with as few questions as possible.

        A job that cannot be asked about is unknown; its `detail` says why.
        """

    @abstractmethod
    def status(self, id: str, folder: Path) -> Status:
        """Return the state of one job."""

    @abstractmethod
    def logs(self, id: str, folder: Path, follow: bool = False) -> Iterator[str]:
        """Yield the lines printed so far and, with `follow`, those that come until the job ends."""

    @abstractmethod
    def cancel(self, id: str, folder: Path) -> None:
        """End the job."""
