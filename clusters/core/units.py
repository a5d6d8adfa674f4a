"""Times and amounts of memory as users write them."""

import re

from clusters.core.job import Job, JobError

MEMORY = re.compile(r"\d+[KMGT]?")
SECONDS = {"d": 86400, "h": 3600, "m": 60, "s": 1}


def seconds(time: str) -> int:
    """Return the seconds of a time such as 90s, 30m, 4h, 2d, 1-12:00:00, 12:00:00 or 30:00 (minutes and seconds).

    Raises:
        JobError: The text is none of these.
    """
    if match := re.fullmatch(r"(\d+)([dhms])", time):
        return int(match[1]) * SECONDS[match[2]]
    if match := re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)", time):
        days, hours, minutes, rest = (int(part or 0) for part in match.groups())
        return days * 86400 + hours * 3600 + minutes * 60 + rest
    raise JobError(f"--time is {time!r}: give 30m, 4h, 2d or 1-12:00:00 (days-hours:minutes:seconds)")


def warning_seconds(job: Job) -> int:
    """Return how long before its time limit a job is asked to save: two minutes, or a quarter of a short limit."""
    return min(120, seconds(job.time) // 4) if job.time else 120


def check_memory(job: Job) -> None:
    """Raise JobError unless the job's memory is a number with K, M, G or T."""
    if job.memory is not None and not MEMORY.fullmatch(job.memory):
        raise JobError(f"--memory is {job.memory!r}: give a number and K, M, G or T, such as 16G")
