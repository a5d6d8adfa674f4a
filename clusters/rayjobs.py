"""An existing Ray cluster, by its Jobs API."""

import asyncio
import json
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from clusters.job import Backend, Job, JobError, State, Status
from clusters.package import RAY_MISSING, Package, check_size, mebibytes, package
from clusters.ray_submission import address, not_sent, submission

NOTES = "ray.json"  # in the job's folder: which cluster
STATES: dict[str, State] = {
    "PENDING": "pending",
    "RUNNING": "running",
    "STOPPED": "cancelled",
    "SUCCEEDED": "succeeded",
    "FAILED": "failed",
}
TOKEN = (
    "give the cluster's token: export RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN_PATH=FILE with a file only you can read "
    "(or put it into ~/.ray/auth_token)"
)


class RayJobs(Backend):
    """Jobs on a Ray cluster that runs already. An id is the submission's: the job's name, or the option `id`.

    Submitting the same command again under an id returns that id, and starts nothing, whatever became of the first; another
    command under a taken id is refused.

    A job that is cancelled gets SIGTERM, then `stop_seconds` (RAY_JOB_STOP_WAIT_TIME_S in its environment; Ray's own are 3)
    before SIGKILL; LIGHTNING_META_PREEMPTIBLE=1 makes `fit` save its state in that time. Ray starts nothing anew: submit it
    under another name, with `--env LIGHTNING_META_RUN=ID` to go on where the job ID stopped.
    """

    name = "ray"

    def render(self, job: Job) -> str:
        made = submission(job)
        try:
            where = _shown(address(job))
        except JobError as error:
            where = str(error)
        secret = [f"not sent, for it looks like a secret: {name}" for name in not_sent(job)]
        # a name of a file may hold a line's end, and is data
        comments = [
            each if each.isprintable() else repr(each) for each in (f"to {where}", *_told(_package(made)), *secret)
        ]
        text = yaml.safe_dump(made, sort_keys=False, width=120)
        return "".join(f"# {each}\n" for each in comments) + text

    def check(self, job: Job, dry_run: bool = False) -> None:
        """JobError where the package is too large; where it is to be sent, also where there is no address."""
        made = submission(job)
        if sent := _package(made):
            check_size(sent, Path(made["runtime_env"]["working_dir"]))
        if not dry_run:
            address(job)

    def submit(self, job: Job) -> str:
        self.check(job)
        made, where = submission(job), address(job)
        client = _client(where)
        id = made["submission_id"]
        with _told_to_user(where):
            if not _there(client, made):
                try:
                    client.submit_job(**made)
                except RuntimeError as error:
                    if "already exists" not in str(error) or not _there(client, made):
                        raise
        job.folder.mkdir(parents=True, exist_ok=True)
        (job.folder / NOTES).write_text(json.dumps({"address": where}) + "\n")
        return id

    def status(self, id: str, folder: Path) -> Status:
        client, where = _remembered(folder)
        with _told_to_user(where):
            info = client.get_job_info(id)
        state = STATES.get(str(getattr(info.status, "value", info.status)), "unknown")
        code = 0 if state == "succeeded" else info.driver_exit_code if state == "failed" else None
        return Status(state, code, detail=(info.message or "").partition("\n")[0][:300])

    def logs(self, id: str, folder: Path, follow: bool = False) -> Iterator[str]:
        client, where = _remembered(folder)
        with _told_to_user(where):
            client.get_job_info(id)  # says so where there is none; a stream of nothing would just end
            if not follow:
                yield from client.get_job_logs(id).splitlines()
                return
            rest = ""
            for text in _stream(client.tail_job_logs(id)):
                *lines, rest = (rest + text).split("\n")
                yield from lines
            if rest:
                yield rest

    def cancel(self, id: str, folder: Path) -> None:
        client, where = _remembered(folder)
        with _told_to_user(where):
            client.stop_job(id)


def _package(made: dict[str, Any]) -> Package | None:
    env = made["runtime_env"]
    folder = env.get("working_dir")
    return None if folder is None or re.match(r"\w+://", folder) else package(Path(folder), env["excludes"])


def _told(made: Package | None) -> list[str]:
    if made is None:
        return ["package: none"]
    files = "1 file" if len(made.files) == 1 else f"{len(made.files)} files"
    return [f"package: {files}, {mebibytes(made.size)}", *(f"left out: {name}" for name in made.left_out)]


def _client(where: str) -> Any:
    try:
        from ray.job_submission import JobSubmissionClient
    except ImportError as error:
        raise JobError(RAY_MISSING) from error
    with _told_to_user(where):
        return JobSubmissionClient(where)


def _remembered(folder: Path) -> tuple[Any, str]:
    """The cluster that the job of this folder went to."""
    try:
        where = json.loads((folder / NOTES).read_text())["address"]
    except FileNotFoundError:
        where = address(Job("any", (), folder, folder))
    return _client(where), where


def _there(client: Any, made: dict[str, Any]) -> bool:
    """Whether the submission has been made before. Another one under its id is an error."""
    id = made["submission_id"]
    try:
        info = client.get_job_info(id)
    except RuntimeError as error:
        if "404" in str(error):
            return False
        raise
    if info.entrypoint != made["entrypoint"]:
        raise JobError(
            f"the cluster has a job {id} already, of another command: {info.entrypoint}\ntake another --name"
        )
    return True


def _stream(pieces: Any) -> Iterator[str]:
    """What an asynchronous generator yields."""
    with asyncio.Runner() as runner:
        try:
            while True:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", DeprecationWarning)  # of what Ray hands to aiohttp
                    text = runner.run(_next(pieces))
                yield text
        except StopAsyncIteration:
            return
        finally:
            runner.run(pieces.aclose())


async def _next(pieces: Any) -> str:
    return await anext(pieces)


@contextmanager
def _told_to_user(where: str) -> Iterator[None]:
    """The client's errors as what a user can do about them."""
    import aiohttp
    import requests
    from ray.exceptions import AuthenticationError

    where = _shown(where)
    try:
        yield
    except AuthenticationError as error:
        raise JobError(f"the Ray cluster at {where} does not let you in ({_first(error)}); {TOKEN}") from error
    except (ConnectionError, requests.RequestException, aiohttp.ClientError) as error:
        raise JobError(
            f"no answer from a Ray cluster at {where} ({_first(error)}); is the address that of its dashboard?"
        ) from error
    except JobError:
        raise
    except (RuntimeError, ValueError, TypeError) as error:  # the latter of the client's own checks
        raise JobError(f"the Ray cluster at {where} refuses: {_first(error)}") from error


def _shown(where: str) -> str:
    """An address without a password."""
    return re.sub(r"//[^/@]*@", "//...@", where)


def _first(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:300]
