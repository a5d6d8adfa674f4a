"""lightning-meta jobs: what was submitted, from any shell, on any day."""

import json
import sys

from clusters.core import statuses
from clusters.core.job import JobError, Status
from clusters.core.job_folder import find, index, records
from lightning_meta.cli.submit import Options, backend, user
from lightning_meta.core import InputError

USAGE = "lightning-meta jobs list | status ID | logs ID [-f] | cancel ID"


def run(argv: list[str]) -> None:
    """`argv` is list, status, logs or cancel, and an id."""
    parser = Options(prog="lightning-meta jobs", usage=USAGE, allow_abbrev=False, description=__doc__)
    which = parser.add_subparsers(dest="action", required=True, parser_class=Options, prog="lightning-meta jobs")
    for action, meaning in (
        ("list", "all jobs, the newest first"),
        ("status", "how a job does; its exit status is 1 where the job has failed"),
        ("logs", "what it printed"),
        ("cancel", "end it"),
    ):
        sub = which.add_parser(action, help=meaning, description=meaning, allow_abbrev=False)
        if action != "list":
            sub.add_argument("id", help="as submit printed it, or the job's folder's name, or its own")
        if action in ("list", "status"):
            sub.add_argument("--json", action="store_true", help="for machines")
        if action == "logs":
            sub.add_argument("-f", "--follow", action="store_true", help="go on until the job ends")
    asked = parser.parse_args(argv)
    if asked.action == "list":
        show_all(asked.json)
        return
    found = user(find, asked.id)
    chosen = user(backend, found.backend)
    if asked.action == "cancel":
        if ended := statuses.kept(found.folder):
            print(f"{found.id} has ended: {sentence(ended)}")
            return
        user(chosen.cancel, found.id, found.folder)
        print(f"cancelled {found.id}")
    elif asked.action == "logs":
        try:
            if asked.follow and (status := statuses.status(chosen, found)).state == "pending":
                print(f"{found.id}: {sentence(status)}; what it prints follows", file=sys.stderr)
            for line in chosen.logs(found.id, found.folder, asked.follow):
                print(line, flush=True)
        except JobError as error:  # as late as the scheduler is asked
            raise InputError(str(error)) from error
    else:
        status = user(statuses.status, chosen, found)
        if asked.json:
            facts = {**status._asdict(), "id": found.id, "backend": found.backend, "folder": str(found.folder)}
            print(json.dumps(facts))
        else:
            print(f"{found.id}: {sentence(status)}\nfolder: {found.folder}")
        sys.exit(1 if status.state == "failed" else 0)


def show_all(as_json: bool) -> None:
    """A line a job. A scheduler that does not answer leaves its jobs unknown, and says why."""
    problems: list[str] = []
    jobs = records(problems)
    found = statuses.statuses(jobs, backend)
    for problem in [*problems[:5], *([f"... and {len(problems) - 5} more"] if len(problems) > 5 else [])]:
        print(problem, file=sys.stderr)
    if as_json:
        print(
            json.dumps(
                [{**j._asdict(), "folder": str(j.folder), **s._asdict()} for j, s in zip(jobs, found, strict=True)]
            )
        )
        return
    if not jobs:
        print(f"no jobs below {index()}: lightning-meta submit sends one")
        return
    for reason in dict.fromkeys(status.detail for status in found if status.state == "unknown"):
        print(f"unknown: {reason}", file=sys.stderr)
    width = max(len(one.id) for one in jobs)
    for one, status in zip(jobs, found, strict=True):
        print(f"{one.id:{width}}  {one.backend:10}  {status.state:9}  {one.when[:16]}  {one.name}")


def sentence(status: Status) -> str:
    """The state, and what else is known, such as: failed (exit code 3), 2 restarts."""
    parts = [status.state + (f" (exit code {status.exit_code})" if status.exit_code is not None else "")]
    if status.restarts:
        parts.append(f"{status.restarts} restart{'s' if status.restarts > 1 else ''}")
    if status.detail and status.detail.lower() not in status.state:
        parts.append(status.detail)
    return ", ".join(parts)
