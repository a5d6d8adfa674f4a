"""A running Ray cluster, through its Jobs API."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import yaml

from clusters.core.backend import Backend
from clusters.core.client import Client
from clusters.core.files import read_json, write_whole
from clusters.core.job import ExistingJob, Job, JobError, State, Status
from clusters.core.options import Option
from clusters.core.passthrough import Passthrough
from clusters.core.timeouts import lines_while
from clusters.ray.client import ask, client_errors, stream_logs, without_password
from clusters.ray.submission import address, submission, upload_of, withheld_variables
from clusters.ray.upload import Upload, check_size, mebibytes

NOTES = "ray.json"  # in the job's folder: which cluster
UPLOAD_SECONDS = 600.0  # for a submission with its package
STATES: dict[str, State] = {
    "PENDING": "pending",
    "RUNNING": "running",
    "STOPPED": "cancelled",
    "SUCCEEDED": "succeeded",
    "FAILED": "failed",
}


class RayJobs(Backend):
    """Jobs on a Ray cluster that is already running. An id is the submission's, which is the name of the job's folder.

    A job that differs in nothing from one that waits, runs or has succeeded there, package and variables included, is not
    started again.

    A job that is cancelled gets SIGTERM, then `stop_seconds` (RAY_JOB_STOP_WAIT_TIME_S in its environment; Ray's default is 3)
    before SIGKILL; LIGHTNING_META_PREEMPTIBLE=1 makes `fit` save its state in that time. Ray restarts nothing: submit the job
    again with `--env LIGHTNING_META_RUN=ID` to resume where the job ID stopped.
    """

    name = "ray"
    summary = "a running Ray cluster, through its Jobs API"
    options: ClassVar = {
        "address": Option(
            str, "the dashboard's address, such as http://head:8265; else RAY_API_SERVER_ADDRESS or RAY_ADDRESS"
        ),
        "python": Option(
            str, "the Python interpreter that runs lightning-meta; else the command on the cluster's PATH"
        ),
        "working_dir": Option(
            str,
            "the folder that is sent along, by default the current one; null for none; or a URI that the cluster reads",
        ),
        "excludes": Option(list, "patterns, as in .gitignore, of files that are not sent"),
        "forward": Option(
            list, "names or patterns of this shell's variables that the job gets; by default LIGHTNING_META_DATA"
        ),
        "pip": Option(list, "packages that Ray installs for the job"),
        "stop_seconds": Option(int, "seconds between SIGTERM and SIGKILL, for a checkpoint; 120 by default"),
        "resources": Option(
            dict, "amounts of the cluster's own resources that the command occupies per node, {NAME: AMOUNT}"
        ),
    }
    unsupported: ClassVar = {
        "max_restarts": "leave it out, as Ray restarts no job",
        "array": "submit once per seed, with --seed_everything",
    }
    passthrough = Passthrough("ray", "runtime_env.pip=[einops]")
    client = Client("pip install 'lightning-meta[ray-jobs]'", packages=("ray",))
    secrets = (
        "Ray's dashboard would show it to everybody who may see the cluster: set it on the cluster's nodes, or name a file"
        " there that holds it"
    )

    def script(self, job: Job) -> str:
        arguments = submission(job)
        try:
            where = without_password(address(job))
        except JobError as error:
            where = str(error)
        withheld = [f"not sent, because it looks like a secret: {name}" for name in withheld_variables(job)]
        comments = [f"to {where}", *_describe(upload_of(arguments)), *withheld]
        # the name of a file may contain a line break
        header = "".join(f"# {each if each.isprintable() else repr(each)}\n" for each in comments)
        return header + yaml.safe_dump(arguments, sort_keys=False, width=120)

    def check(self, job: Job, rendered: str, dry_run: bool = False) -> None:
        """Raise JobError if the package is too large or, unless it is a dry run, if there is no address."""
        arguments = yaml.safe_load(rendered)
        if upload := upload_of(arguments):
            check_size(upload, Path(arguments["runtime_env"]["working_dir"]))
        if not dry_run:
            address(job)

    def find_existing(self, job: Job, rendered: str) -> ExistingJob | None:
        digest = yaml.safe_load(rendered)["metadata"]["digest"]
        for info in ask(address(job), lambda client: client.list_jobs()):
            state = _state(info)
            if (info.metadata or {}).get("digest") == digest and state in ("pending", "running", "succeeded"):
                return ExistingJob(str(info.submission_id), state)
        return None

    def submit(self, job: Job, rendered: str) -> str:
        arguments, where = yaml.safe_load(rendered), address(job)
        write_whole(job.folder / NOTES, json.dumps({"address": where}) + "\n")
        ask(where, lambda client: client.submit_job(**arguments), UPLOAD_SECONDS)
        return arguments["submission_id"]

    def statuses(self, jobs: Sequence[tuple[str, Path]]) -> list[Status]:
        """Return the states of jobs; each cluster is asked once."""
        answers: dict[str, dict[str, Any] | JobError] = {}
        return [self._listed_status(id, folder, answers) for id, folder in jobs]

    def status(self, id: str, folder: Path) -> Status:
        return _status(ask(_cluster(folder), lambda client: client.get_job_info(id)))

    def logs(self, id: str, folder: Path, follow: bool = False) -> Iterator[str]:
        where = _cluster(folder)
        # raises if there is no such job, for which a stream would just end
        ask(where, lambda client: client.get_job_info(id))
        if not follow:
            yield from ask(where, lambda client: client.get_job_logs(id)).splitlines()
            return
        rest, client = "", ask(where, lambda client: client)
        with client_errors(where):
            pieces = stream_logs(client, id)
            for text in lines_while(pieces, lambda: self.status(id, folder).state in ("pending", "running")):
                *lines, rest = (rest + text).split("\n")
                yield from lines
        if rest:
            yield rest

    def cancel(self, id: str, folder: Path) -> None:
        ask(_cluster(folder), lambda client: client.stop_job(id))

    def _listed_status(self, id: str, folder: Path, answers: dict[str, dict[str, Any] | JobError]) -> Status:
        try:
            where = _cluster(folder)
            if where not in answers:
                try:
                    answers[where] = {str(e.submission_id): e for e in ask(where, lambda client: client.list_jobs())}
                except JobError as error:
                    answers[where] = error
            jobs = answers[where]
            if isinstance(jobs, JobError):
                raise jobs
        except JobError as error:
            return Status("unknown", detail=str(error))
        return _status(jobs[id]) if id in jobs else Status("unknown", detail="the Ray cluster does not know the job")


def _state(info: Any) -> State:
    return STATES.get(str(getattr(info.status, "value", info.status)), "unknown")


def _status(info: Any) -> Status:
    state = _state(info)
    code = 0 if state == "succeeded" else info.driver_exit_code if state == "failed" else None
    return Status(state, code, detail=(info.message or "").partition("\n")[0][:300])


def _describe(upload: Upload | None) -> list[str]:
    if upload is None:
        return ["package: none"]
    files = "1 file" if len(upload.files) == 1 else f"{len(upload.files)} files"
    return [f"package: {files}, {mebibytes(upload.size)}", *(f"left out: {name}" for name in upload.left_out)]


def _cluster(folder: Path) -> str:
    """Return the address of the cluster that the job of this folder went to."""
    where = read_json(folder / NOTES).get("address")
    return where if isinstance(where, str) else address(Job("any", (), folder, folder))
