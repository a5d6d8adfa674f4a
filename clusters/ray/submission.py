"""A job as a submission to Ray's Jobs API. A pure function of the job, the packaged folder and this shell's variables."""

import difflib
import hashlib
import json
import os
import re
import shlex
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from clusters.core.argument_list import program, with_time_limit
from clusters.core.job import Job, JobError
from clusters.core.passthrough import assign
from clusters.core.secrets import is_secret
from clusters.core.setup_lines import with_setup
from clusters.ray.run_on_nodes import spread
from clusters.ray.upload import LIMIT, Upload, add_content, plan_upload

ARGUMENTS = ("entrypoint", "submission_id", "runtime_env", "metadata", "entrypoint_num_cpus", "entrypoint_num_gpus")
ARGUMENTS += ("entrypoint_memory", "entrypoint_resources", "entrypoint_label_selector")
UNITS = {"": 2**20, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}  # a bare number is in MiB, as for Slurm


def submission(job: Job) -> dict[str, Any]:
    """Return the arguments of JobSubmissionClient.submit_job.

    Their metadata hold a digest, which two jobs share that differ in nothing but their folder, packaged files included.

    Raises:
        JobError: Ray cannot express the job.
    """
    arguments = _arguments(job)
    alike = _arguments(replace(job, folder=job.folder.with_name(job.name)))
    digest = hashlib.sha256(json.dumps(alike, sort_keys=True).encode())
    upload = upload_of(arguments)
    if upload and upload.size <= LIMIT:
        add_content(digest, upload, Path(arguments["runtime_env"]["working_dir"]))
    arguments["metadata"]["digest"] = digest.hexdigest()[:16]
    return arguments


def upload_of(arguments: dict[str, Any]) -> Upload | None:
    """Return the package that goes along with a submission, or None without a folder of this machine."""
    env = arguments["runtime_env"]
    folder = env.get("working_dir")
    return None if folder is None or re.match(r"\w+://", folder) else plan_upload(Path(folder), env["excludes"])


def address(job: Job) -> str:
    """Return the address of the cluster's dashboard, from the profile or this shell's variables."""
    given = {"address": job.options.get("address")}
    given |= {name: os.environ.get(name) for name in ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")}
    for name, value in given.items():
        if value and re.match(r"https?://.", str(value)):
            return str(value)
        if value:
            raise JobError(f"{name} is {value!r}: give the dashboard's address, such as http://head:8265")
    raise JobError(
        "the address of the Ray cluster is not given: put `address: http://HEAD:8265` into the profile, or export"
        " RAY_API_SERVER_ADDRESS"
    )


def withheld_variables(job: Job) -> list[str]:
    """Return the variables that `forward` names and that are not sent, because they look like secrets."""
    return sorted(name for name in _forwarded(job) if is_secret(name, os.environ[name]))


def _arguments(job: Job) -> dict[str, Any]:
    options = job.options
    if job.is_search:
        _check_search(job)
    arguments: dict[str, Any] = {
        "entrypoint": _entrypoint(job),
        "submission_id": job.folder.name,
        "runtime_env": _runtime_env(job),
        "metadata": {"name": job.name, "submitted_by": "lightning-meta"},
    }
    if job.nodes == 1 and not job.is_search:  # otherwise what it starts asks for what it needs, and itself needs little
        arguments["entrypoint_num_cpus"] = job.node_cpus
        arguments["entrypoint_num_gpus"] = job.gpus_per_node
        if job.memory:
            arguments["entrypoint_memory"] = _bytes(job.memory)
    if options.get("resources") and (job.nodes == 1 or job.is_search):
        arguments["entrypoint_resources"] = options["resources"]
    for assignment in job.passthrough:
        assign(arguments, assignment)
    for key in arguments:
        if key not in ARGUMENTS:
            close = difflib.get_close_matches(key, ARGUMENTS, 1)
            hint = f"did you mean {close[0]}?" if close else f"give one of {', '.join(ARGUMENTS)}"
            raise JobError(f"{key!r} is not a part of a submission: {hint}")
    return arguments


def _check_search(job: Job) -> None:
    sizes = {
        "nodes": job.nodes if job.nodes > 1 else None,
        "gpus-per-node": job.gpus_per_node or None,
        "cpus-per-task": job.cpus_per_task,
        "memory": job.memory,
    }
    for option, value in sizes.items():
        if value is not None:
            raise JobError(
                f"--{option} is {value}: leave it out, as a search spreads its trials over the whole Ray cluster, and say what"
                " a trial takes with --search.cpus and --search.gpus"
            )


def _entrypoint(job: Job) -> str:
    """Return a line for the shell of the head or a worker; every word of the user's is quoted."""
    words = [*program(job), *job.arguments(job.config or "")]
    if job.nodes > 1 and not job.is_search:
        memory = {"memory": _bytes(job.memory)} if job.memory else {}
        words = spread(job, {**(job.options.get("resources") or {}), **memory}, words)
    words = with_setup(words, job.setup)
    return shlex.join(with_time_limit(job, words, job.options.get("stop_seconds", 120)))


def _runtime_env(job: Job) -> dict[str, Any]:
    options = job.options
    forwarded = {name: os.environ[name] for name in _forwarded(job) if not is_secret(name, os.environ[name])}
    own = {
        "LIGHTNING_META_PREEMPTIBLE": "1",  # makes the run save its state on SIGTERM
        "LIGHTNING_META_RUN": job.run_name,
        "RAY_JOB_STOP_WAIT_TIME_S": str(options.get("stop_seconds", 120)),
    }
    env: dict[str, Any] = {"env_vars": {**forwarded, **own, **job.environment}}
    folder = options.get("working_dir", str(job.workdir))
    if folder is not None:
        env["working_dir"] = str(folder)
        env["excludes"] = list(options.get("excludes") or [])
    if options.get("pip"):
        env["pip"] = options["pip"]
    return env


def _forwarded(job: Job) -> list[str]:
    patterns = job.options.get("forward", ["LIGHTNING_META_DATA"]) or []
    return sorted(name for name in os.environ if any(fnmatchcase(name, str(pattern)) for pattern in patterns))


def _bytes(memory: str) -> int:
    match = re.fullmatch(r"(\d+)([KMGT]?)(?:i|iB)?", memory)
    if not match:
        raise JobError(f"--memory is {memory!r}: give a number and K, M, G or T, such as 16G")
    return int(match[1]) * UNITS[match[2]]
