"""The command of a job as a list of arguments, for schedulers that take one instead of a script."""

from clusters.core.job import Job
from clusters.core.units import seconds


def program(job: Job) -> list[str]:
    """Return what starts lightning-meta on a machine of its own: a profile's `python`, or the command on the PATH."""
    python = job.options.get("python")
    return [str(python), "-m", "lightning_meta"] if python else ["lightning-meta"]


def with_time_limit(job: Job, words: list[str], grace: int, keep_status: bool = False) -> list[str]:
    """Return the argument list under the job's time limit, which counts from the start of the command.

    A command that meets the limit ends with status 124, or with its own status if `keep_status` is set.

    Args:
        job: The job, with its time limit.
        words: The argument list.
        grace: Seconds between SIGTERM and SIGKILL.
        keep_status: Whether the command's own status counts.
    """
    if not job.time:
        return words
    keep = ["--preserve-status"] if keep_status else []
    return ["timeout", *keep, "--signal=TERM", f"--kill-after={grace}", str(seconds(job.time)), *words]
