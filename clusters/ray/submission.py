"""A job as a submission to Ray's Jobs API. Pure, but for a look at the folder that is packaged and at the environment."""

import difflib
import os
import re
import shlex
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any

from clusters.core.job import Job, JobError
from clusters.core.quoting import check, check_options
from clusters.core.secrets import is_secret
from clusters.kubernetes.entrypoint import wrapped
from clusters.kubernetes.manifest import assign, program, timed
from clusters.ray.run_on_nodes import spread

OPTIONS = {
    "address": "of the dashboard, such as http://head:8265; else RAY_API_SERVER_ADDRESS or RAY_ADDRESS",
    "python": "the interpreter to run lightning-meta with; else the command is on the cluster's PATH",
    "working_dir": "the folder that is sent along, the current one; null for none; or a URI that the cluster reads",
    "excludes": "a list of patterns, as in .gitignore, of what is not sent",
    "forward": "a list of names or patterns of this shell's variables that the job gets: LIGHTNING_META_DATA",
    "pip": "a list of packages that Ray installs for the job",
    "stop_seconds": "between SIGTERM and SIGKILL, for a checkpoint: 120",
    "resources": "{resource: amount} that the command occupies, of each node",
}
SHAPES = {
    **dict.fromkeys(("excludes", "forward", "pip"), list),
    "resources": dict,
    "stop_seconds": int,
    **dict.fromkeys(("address", "python", "working_dir"), str),
}
ARGUMENTS = ("entrypoint", "submission_id", "runtime_env", "metadata", "entrypoint_num_cpus", "entrypoint_num_gpus")
ARGUMENTS += ("entrypoint_memory", "entrypoint_resources", "entrypoint_label_selector")
LEGAL = "legal are " + ", ".join(ARGUMENTS)
UNITS = {"": 2**20, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}  # a bare number is MiB, as in Slurm


def submission(job: Job) -> dict[str, Any]:
    """The arguments of JobSubmissionClient.submit_job. JobError for what cannot be said to Ray."""
    _check(job)
    options, tune = job.options, job.command[:1] == ("tune",)
    made: dict[str, Any] = {
        "entrypoint": _entrypoint(job),
        "submission_id": job.folder.name,
        "runtime_env": _runtime_env(job),
        "metadata": {"name": job.name, "submitted_by": "lightning-meta"},
    }
    if job.nodes == 1 and not tune:  # else what it starts asks for what it needs, and itself needs next to nothing
        made["entrypoint_num_cpus"] = job.cpus_of_a_node
        made["entrypoint_num_gpus"] = job.gpus_per_node
        if job.memory:
            made["entrypoint_memory"] = _bytes(job.memory)
    if options.get("resources") and (job.nodes == 1 or tune):
        made["entrypoint_resources"] = options["resources"]
    for each in job.passthrough:
        assign(made, each)
    for key in made:
        if key not in ARGUMENTS:
            close = difflib.get_close_matches(key, ARGUMENTS, 1)
            raise JobError(f"{key} is no part of a submission; " + (f"did you mean {close[0]}?" if close else LEGAL))
    return made


def address(job: Job) -> str:
    """Of the cluster's dashboard."""
    given = {"address": job.options.get("address")}
    given |= {name: os.environ.get(name) for name in ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")}
    for name, value in given.items():
        if value and re.match(r"https?://.", str(value)):
            return str(value)
        if value:
            raise JobError(f"{name}: came {value}, legal is the dashboard's address, such as http://head:8265")
    raise JobError(
        "no address of a Ray cluster; put `address: http://HEAD:8265` into the profile, or export RAY_API_SERVER_ADDRESS"
    )


def not_sent(job: Job) -> list[str]:
    """Variables that would be forwarded, did they not look like secrets."""
    return sorted(name for name in _matching(job) if is_secret(name, os.environ[name]))


def _check(job: Job) -> None:
    options = job.options
    if job.array > 1:
        raise JobError(f"array: came {job.array}, legal on Ray is 1; submit once for each seed, with --seed_everything")
    check_options("ray", options, OPTIONS, SHAPES)
    if job.command[:1] == ("tune",):
        given = {"nodes": job.nodes > 1, "gpus-per-node": job.gpus_per_node, "cpus-per-task": job.cpus_per_task}
        for option in (name for name, value in {**given, "memory": job.memory}.items() if value):
            raise JobError(
                f"--{option}: a search spreads its trials over the whole of a Ray cluster: leave it out, and say what a trial "
                "takes with --search.cpus and --search.gpus"
            )
    for name, value in job.environment.items():
        if is_secret(name, value):
            raise JobError(
                f"the variable {name} looks like a secret, and Ray's dashboard would show it to everybody who may see the "
                "cluster: set it on the cluster's nodes, or name a file there that holds it"
            )
    check(replace(job, memory=None))


def _entrypoint(job: Job) -> str:
    """A line for the shell of the head's or a worker's node; every word of the user's is quoted."""
    words = [*program(job), *job.arguments(job.config or "")]
    if job.nodes > 1 and job.command[:1] != ("tune",):
        memory = {"memory": _bytes(job.memory)} if job.memory else {}
        words = spread(job, {**job.options.get("resources", {}), **memory}, words)
    words = wrapped(words, list(job.setup))
    return shlex.join(timed(job, words, job.options.get("stop_seconds", 120)))


def _runtime_env(job: Job) -> dict[str, Any]:
    options = job.options
    variables = {name: os.environ[name] for name in _matching(job) if not is_secret(name, os.environ[name])}
    own = {
        "LIGHTNING_META_PREEMPTIBLE": "1",  # SIGTERM makes the run save its state
        "LIGHTNING_META_RUN": job.run,
        "RAY_JOB_STOP_WAIT_TIME_S": str(options.get("stop_seconds", 120)),
    }
    made: dict[str, Any] = {"env_vars": {**variables, **own, **job.environment}}
    folder = options.get("working_dir", str(job.workdir))
    if folder is not None:
        made["working_dir"] = str(folder)
        made["excludes"] = list(options.get("excludes", []))
    if options.get("pip"):
        made["pip"] = options["pip"]
    return made


def _matching(job: Job) -> list[str]:
    patterns = job.options.get("forward", ["LIGHTNING_META_DATA"])
    return sorted(name for name in os.environ if any(fnmatchcase(name, str(each)) for each in patterns))


def _bytes(memory: str) -> int:
    found = re.fullmatch(r"(\d+)([KMGT]?)(?:i|iB)?", memory)
    if not found:
        raise JobError(f"memory: came {memory!r}, legal is a number and K, M, G or T, such as 16G")
    return int(found[1]) * UNITS[found[2]]
