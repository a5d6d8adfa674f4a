"""An existing Ray cluster, by its Jobs API."""

import asyncio
import hashlib
import json
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import yaml

from clusters.core.job import Backend, Job, JobError, State, Status, Twin
from clusters.core.job_folder import read_json, write
from clusters.core.timeouts import watched, within
from clusters.ray.submission import address, not_sent, submission
from clusters.ray.upload import LIMIT, RAY_MISSING, Package, add_content, check_size, mebibytes, package

NOTES = "ray.json"  # in the job's folder: which cluster
TIMEOUT, UPLOAD = 30.0, 600.0  # seconds for an answer; of a submission, with its package
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
    """Jobs on a Ray cluster that runs already. An id is the submission's, the name of the job's folder.

    A job that differs in nothing from one that waits, runs or has succeeded there, package and variables included, is that
    one, and nothing is started.

    A job that is cancelled gets SIGTERM, then `stop_seconds` (RAY_JOB_STOP_WAIT_TIME_S in its environment; Ray's own are 3)
    before SIGKILL; LIGHTNING_META_PREEMPTIBLE=1 makes `fit` save its state in that time. Ray starts nothing anew: submit it
    again with `--env LIGHTNING_META_RUN=ID` to go on where the job ID stopped.
    """

    name = "ray"
    without: ClassVar = {"max_restarts": "Ray puts no job back: leave it out"}

    def render(self, job: Job) -> str:
        made = _complete(job)
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

    def twin(self, job: Job) -> Twin | None:
        digest, where = _complete(job)["metadata"]["digest"], address(job)
        for info in _ask(where, lambda client: client.list_jobs()):
            state = _state(info)
            if (info.metadata or {}).get("digest") == digest and state in ("pending", "running", "succeeded"):
                return Twin(str(info.submission_id), state)
        return None

    def submit(self, job: Job) -> str:
        self.check(job)
        made, where = _complete(job), address(job)
        write(job.folder / NOTES, json.dumps({"address": where}) + "\n")
        _ask(where, lambda client: client.submit_job(**made), UPLOAD)
        return made["submission_id"]

    def statuses(self, jobs: Sequence[tuple[str, Path]]) -> list[Status]:
        """Each cluster is asked once."""
        answers: dict[str, dict[str, Any] | JobError] = {}
        return [self._listed(id, folder, answers) for id, folder in jobs]

    def status(self, id: str, folder: Path) -> Status:
        return _status(_ask(_remembered(folder), lambda client: client.get_job_info(id)))

    def logs(self, id: str, folder: Path, follow: bool = False) -> Iterator[str]:
        where = _remembered(folder)
        _ask(
            where, lambda client: client.get_job_info(id)
        )  # says so where there is none; a stream of nothing would just end
        if not follow:
            yield from _ask(where, lambda client: client.get_job_logs(id)).splitlines()
            return
        rest, client = "", _ask(where, lambda client: client)
        with _told_to_user(where):
            for text in watched(_stream(client, id), lambda: self.status(id, folder).state in ("pending", "running")):
                *lines, rest = (rest + text).split("\n")
                yield from lines
        if rest:
            yield rest

    def cancel(self, id: str, folder: Path) -> None:
        _ask(_remembered(folder), lambda client: client.stop_job(id))

    def _listed(self, id: str, folder: Path, answers: dict[str, dict[str, Any] | JobError]) -> Status:
        try:
            where = _remembered(folder)
            if where not in answers:
                try:
                    answers[where] = {str(e.submission_id): e for e in _ask(where, lambda client: client.list_jobs())}
                except JobError as error:
                    answers[where] = error
            there = answers[where]
            if isinstance(there, JobError):
                raise there
        except JobError as error:
            return Status("unknown", detail=str(error))
        return _status(there[id]) if id in there else Status("unknown", detail="the Ray cluster does not know it")


def _complete(job: Job) -> dict[str, Any]:
    """The submission, with a digest by which another one like it is known."""
    made = submission(job)
    alike = submission(replace(job, folder=job.folder.with_name(job.name)))
    digest = hashlib.sha256(json.dumps(alike, sort_keys=True).encode())
    sent = _package(made)
    if sent and sent.size <= LIMIT:
        add_content(digest, sent, Path(made["runtime_env"]["working_dir"]))
    made["metadata"]["digest"] = digest.hexdigest()[:16]
    return made


def _state(info: Any) -> State:
    return STATES.get(str(getattr(info.status, "value", info.status)), "unknown")


def _status(info: Any) -> Status:
    state = _state(info)
    code = 0 if state == "succeeded" else info.driver_exit_code if state == "failed" else None
    return Status(state, code, detail=(info.message or "").partition("\n")[0][:300])


def _package(made: dict[str, Any]) -> Package | None:
    env = made["runtime_env"]
    folder = env.get("working_dir")
    return None if folder is None or re.match(r"\w+://", folder) else package(Path(folder), env["excludes"])


def _told(made: Package | None) -> list[str]:
    if made is None:
        return ["package: none"]
    files = "1 file" if len(made.files) == 1 else f"{len(made.files)} files"
    return [f"package: {files}, {mebibytes(made.size)}", *(f"left out: {name}" for name in made.left_out)]


def _ask(where: str, call: Callable[[Any], Any], seconds: float | None = None) -> Any:
    """What the cluster's client answers to a call."""
    try:
        from ray.job_submission import JobSubmissionClient
    except ImportError as error:
        raise JobError(RAY_MISSING) from error
    with _told_to_user(where):
        return within(
            seconds or TIMEOUT, f"the Ray cluster at {_shown(where)}", lambda: call(JobSubmissionClient(where))
        )


def _remembered(folder: Path) -> str:
    """The cluster that the job of this folder went to."""
    where = read_json(folder / NOTES).get("address")
    return where if isinstance(where, str) else address(Job("any", (), folder, folder))


def _stream(client: Any, id: str) -> Iterator[str]:
    """What the client's asynchronous generator yields."""
    with asyncio.Runner() as runner:
        pieces = client.tail_job_logs(id)
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
