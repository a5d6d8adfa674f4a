"""lightning-meta jobs: what was submitted, from any shell, on any day."""

import argparse
import json
import sys

from clusters.core.backend import Backend
from clusters.core.job import Status
from clusters.core.job_folder import Record, all_jobs, find_job, jobs_folder
from clusters.core.plugins import load_backend
from clusters.core.statuses import job_status, job_statuses, kept_status
from lightning_meta.cli.submit import Parser, job_errors

USAGE = "lightning-meta jobs list | status ID | logs ID [-f] | cancel ID"
ACTIONS = {
    "list": "list all jobs, the newest first",
    "status": "print the state of a job; the exit status is 1 if the job has failed",
    "logs": "print the output of a job",
    "cancel": "end a job",
}


def run(argv: list[str]) -> None:
    """Run an action: list, or status, logs or cancel with an id."""
    asked = jobs_parser().parse_args(argv)
    with job_errors():
        if asked.action == "list":
            print_list(asked.json)
            return
        job = find_job(asked.id)
        backend = load_backend(job.backend)
        if asked.action == "status":
            print_status(backend, job, asked.json)
        elif asked.action == "logs":
            print_logs(backend, job, asked.follow)
        else:
            cancel(backend, job)


def jobs_parser() -> Parser:
    """Return the parser of the action and its options."""
    parser = Parser(prog="lightning-meta jobs", usage=USAGE, allow_abbrev=False, description=__doc__)
    which = parser.add_subparsers(dest="action", required=True, parser_class=Parser, prog="lightning-meta jobs")
    subparsers: dict[str, argparse.ArgumentParser] = {}
    for action, meaning in ACTIONS.items():
        subparsers[action] = which.add_parser(action, help=meaning, description=meaning, allow_abbrev=False)
        if action != "list":
            subparsers[action].add_argument("id", help="the id as submit printed it, or the job's name or folder")
    for action in ("list", "status"):
        subparsers[action].add_argument("--json", action="store_true", help="print JSON")
    subparsers["logs"].add_argument("-f", "--follow", action="store_true", help="continue until the job ends")
    return parser


def print_status(backend: Backend, job: Record, as_json: bool) -> None:
    """Print the state of a job, and exit with status 1 if it has failed."""
    status = job_status(backend, job)
    if as_json:
        print(json.dumps({**status._asdict(), "id": job.id, "backend": job.backend, "folder": str(job.folder)}))
    else:
        print(f"{job.id}: {sentence(status)}\nfolder: {job.folder}")
    sys.exit(1 if status.state == "failed" else 0)


def print_logs(backend: Backend, job: Record, follow: bool) -> None:
    """Print the output of a job."""
    if follow and (status := job_status(backend, job)).state == "pending":
        print(f"{job.id}: {sentence(status)}; its output follows", file=sys.stderr)
    for line in backend.logs(job.id, job.folder, follow):
        print(line, flush=True)


def cancel(backend: Backend, job: Record) -> None:
    """End a job, unless it has ended."""
    if ended := kept_status(job.folder):
        print(f"{job.id} has ended: {sentence(ended)}")
        return
    backend.cancel(job.id, job.folder)
    print(f"cancelled {job.id}")


def print_list(as_json: bool) -> None:
    """Print one line per job. The jobs of a scheduler that does not answer are unknown, and the reason is printed."""
    jobs, problems = all_jobs()
    statuses = job_statuses(jobs, load_backend)
    for problem in [*problems[:5], *([f"... and {len(problems) - 5} more"] if len(problems) > 5 else [])]:
        print(problem, file=sys.stderr)
    pairs = list(zip(jobs, statuses, strict=True))
    if as_json:
        print(json.dumps([{**job._asdict(), "folder": str(job.folder), **status._asdict()} for job, status in pairs]))
        return
    if not jobs:
        print(f"no jobs below {jobs_folder()}: lightning-meta submit sends one")
        return
    for reason in dict.fromkeys(status.detail for status in statuses if status.state == "unknown"):
        print(f"unknown: {reason}", file=sys.stderr)
    width = max(len(job.id) for job in jobs)
    for job, status in pairs:
        print(f"{job.id:{width}}  {job.backend:10}  {status.state:9}  {job.when[:16]}  {job.name}")


def sentence(status: Status) -> str:
    """Return the state and what else is known, such as: failed (exit code 3), 2 restarts."""
    parts = [status.state + (f" (exit code {status.exit_code})" if status.exit_code is not None else "")]
    if status.restarts:
        parts.append(f"{status.restarts} restart{'s' if status.restarts > 1 else ''}")
    if status.detail and status.detail.lower() not in status.state:
        parts.append(status.detail)
    return ", ".join(parts)
