"""The pods of a job: container, resources, variables, placement."""

import hashlib
import re
from typing import Any

from clusters.core.job import Job, JobError


def pod_template(job: Job, name: str, cpus: str, memory: str | None, gpus: int) -> dict[str, Any]:
    """Return the template of a pod with one container.

    Args:
        job: The job, with the options of its profile.
        name: The container's name.
        cpus: CPU cores.
        memory: Memory, such as 16G, or None for no limit.
        gpus: The number of GPUs.
    """
    options = job.options
    resources: dict[str, Any] = {"cpu": cpus}
    if memory:
        resources["memory"] = quantity(memory)
    if gpus:
        resources[options.get("gpu_resource", "nvidia.com/gpu")] = str(gpus)
    container = {
        "name": name,
        "image": options["image"],
        "env": _environment(job),
        "resources": {"limits": resources, "requests": dict(resources)},
        "volumeMounts": list(options.get("volume_mounts", [])),
    }
    spec: dict[str, Any] = {
        "containers": [container],
        "volumes": list(options.get("volumes", [])),
        "terminationGracePeriodSeconds": options.get("grace_seconds", 120),
    }
    for where, key, option in (
        (container, "workingDir", "workdir"),
        (container, "imagePullPolicy", "image_pull_policy"),
        (spec, "serviceAccountName", "service_account"),
        (spec, "priorityClassName", "priority_class"),
    ):
        if option in options:
            where[key] = options[option]
    if "image_pull_secrets" in options:
        spec["imagePullSecrets"] = [{"name": secret} for secret in options["image_pull_secrets"]]
    return {"metadata": {"labels": dict(options.get("labels", {}))}, "spec": spec}


def place_pod(pod: dict[str, Any], options: dict[str, Any], prefix: str) -> None:
    """Set where a pod may run, from the options whose names begin with `prefix`."""
    for key, option in (("nodeSelector", "node_selector"), ("tolerations", "tolerations")):
        if f"{prefix}{option}" in options:
            pod["spec"][key] = options[f"{prefix}{option}"]


def object_name(job: Job) -> str:
    """Return the name of the job's object, and of its run."""
    return legal_name(job.folder.name, 47)


def legal_name(name: str, longest: int) -> str:
    """Return the nearest name that Kubernetes accepts; one that had to be cut ends with a hash of the whole."""
    legal = re.sub(r"-+", "-", re.sub(r"[^a-z0-9-]", "-", name.lower())).strip("-")
    legal = legal if legal[:1].isalpha() else f"job-{legal}".rstrip("-")
    if len(legal) <= longest:
        return legal
    return f"{legal[: longest - 7].rstrip('-')}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"


def literal(text: str) -> str:
    """Return text that stays as it is, although Kubernetes replaces $(NAME) by variables."""
    return text.replace("$", "$$")


def quantity(memory: str) -> str:
    """Return 16G, as Slurm writes it, as Kubernetes' 16Gi; anything else unchanged, for the schema to judge."""
    return re.sub(r"^(\d+)([KMGT])$", r"\1\2i", memory)


def _environment(job: Job) -> list[dict[str, Any]]:
    own = {"LIGHTNING_META_PREEMPTIBLE": "1", "LIGHTNING_META_RUN": object_name(job)}
    variables: list[dict[str, Any]] = [
        {"name": name, "value": literal(value)} for name, value in {**own, **job.environment}.items()
    ]
    for name, value in job.options.get("secrets", {}).items():
        secret, _, key = str(value).partition("/")
        if not secret or not key:
            raise JobError(f"secrets.{name} is {value!r}: give SECRET/KEY, the names of a Secret and of a key in it")
        variables.append({"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}})
    return variables
