"""A job as a Kubernetes manifest: KubeRay's RayJob, or a plain batch/v1 Job. Pure functions."""

import hashlib
import json
from dataclasses import replace
from typing import Any

from clusters.core.argument_list import program, with_time_limit
from clusters.core.job import EXIT_TO_RESUME, Job, JobError
from clusters.core.passthrough import assign
from clusters.core.setup_lines import with_setup
from clusters.kubernetes.pod import literal, object_name, place_pod, pod_template
from clusters.ray.run_on_nodes import spread

DIGEST = "lightning-meta/digest"  # a label, which two jobs share that differ in nothing but their folder
TERMINATED = 143  # exit status after SIGTERM


def manifest(job: Job) -> dict[str, Any]:
    """Return the manifest of a job. Raises JobError if Kubernetes cannot express it."""
    document, alike = _manifest(job), _manifest(replace(job, folder=job.folder.with_name(job.name)))
    digest = hashlib.sha256(json.dumps(alike, sort_keys=True).encode()).hexdigest()[:16]
    document["metadata"]["labels"][DIGEST] = digest
    return document


def _manifest(job: Job) -> dict[str, Any]:
    if not job.options.get("image"):
        raise JobError(
            "image is not given: put `image: REGISTRY/NAME:TAG` into the profile, a container image with lightning-meta in it"
        )
    kind = job.options.get("kind")
    if job.nodes > 1 and kind == "job":
        raise JobError(f"kind is job, which has one node: give rayjob for {job.nodes} nodes")
    use_ray = kind == "rayjob" or (kind is None and (job.is_search or job.nodes > 1))
    document = _ray_job(job) if use_ray else _batch_job(job)
    for assignment in job.passthrough:
        assign(document, assignment)
    return document


def _head(job: Job, api: str, kind: str) -> dict[str, Any]:
    labels = {"app.kubernetes.io/managed-by": "lightning-meta", **job.options.get("labels", {})}
    metadata = {
        "name": object_name(job),
        "namespace": job.options.get("namespace", "default"),
        "labels": labels,
        "annotations": {"lightning-meta/name": job.name},
    }
    return {"apiVersion": api, "kind": kind, "metadata": metadata}


def _batch_job(job: Job) -> dict[str, Any]:
    pod = pod_template(job, "main", str(job.node_cpus), job.memory, job.gpus_per_node)
    place_pod(pod, job.options, "")
    (container,) = pod["spec"]["containers"]
    words = [*program(job), *job.arguments(job.config or "")]
    # a run that has saved ends with EXIT_TO_RESUME and resumes in another pod; at its time limit, a command that would begin
    # anew is not restarted
    words = with_time_limit(job, words, job.options.get("grace_seconds", 120), keep_status=job.resumes)
    container["command"] = [literal(word) for word in with_setup(words, job.setup)]
    pod["spec"]["restartPolicy"] = "Never"
    pod["spec"]["volumes"].append({"name": "shared-memory", "emptyDir": {"medium": "Memory"}})
    container["volumeMounts"].append({"name": "shared-memory", "mountPath": "/dev/shm"})
    spec: dict[str, Any] = {
        "backoffLimit": 10 if job.max_restarts is None else job.max_restarts,
        "ttlSecondsAfterFinished": job.options.get("ttl_seconds", 7 * 86400),
        "podFailurePolicy": {
            "rules": [  # the first that applies; a failure of the run itself is not tried again
                {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
                {"action": "FailJob", "onExitCodes": {"operator": "NotIn", "values": [EXIT_TO_RESUME, TERMINATED]}},
            ]
        },
        "template": pod,
    }
    return {**_head(job, "batch/v1", "Job"), "spec": spec}


def _ray_job(job: Job) -> dict[str, Any]:
    options = job.options
    version = options.get("ray_version")
    if version is None:
        raise JobError(
            "ray_version is not given: put the version of Ray in the image into the profile, such as `ray_version: 2.60.0`"
        )
    if job.max_restarts is not None:
        raise JobError(
            f"--max-restarts is {job.max_restarts}: leave it out, as nothing restarts a RayJob where it was, or give"
            " `backoff_limit` in the profile, by which KubeRay starts a failed one anew"
        )
    head = pod_template(job, "ray-head", str(options.get("head_cpus", 2)), options.get("head_memory", "8Gi"), 0)
    place_pod(head, options, "head_")
    head["spec"]["containers"][0]["env"] += _entrypoint_variables(job)
    worker = pod_template(job, "ray-worker", str(job.node_cpus), job.memory, job.gpus_per_node)
    place_pod(worker, options, "")
    group = {
        "groupName": "workers",
        "replicas": job.nodes,
        "minReplicas": job.nodes,
        "maxReplicas": job.nodes,
        "rayStartParams": {},
        "template": worker,
    }
    spec: dict[str, Any] = {
        "submissionMode": options.get("submission_mode", "K8sJobMode"),
        "entrypoint": "python -m clusters.kubernetes.entrypoint",
        "backoffLimit": options.get("backoff_limit", 0),
        "shutdownAfterJobFinishes": True,
        "ttlSecondsAfterFinished": 0,  # of the cluster; the RayJob itself stays
        "rayClusterSpec": {
            "rayVersion": version,
            "authOptions": {"mode": "token"},
            "headGroupSpec": {"rayStartParams": {"num-cpus": "0"}, "template": head},
            "workerGroupSpecs": [group],
        },
    }
    return {**_head(job, "ray.io/v1", "RayJob"), "spec": spec}


def _entrypoint_variables(job: Job) -> list[dict[str, str]]:
    """Return the variables from which `entrypoint.py` runs the command on the head."""
    grace = job.options.get("grace_seconds", 120)
    command = [*program(job), *job.arguments(job.config or "")]
    if not job.is_search:  # the trials of a search go to the workers by themselves
        command = spread(job, {}, command)
    command = with_time_limit(job, command, grace)
    variables = {"RAY_JOB_STOP_WAIT_TIME_S": str(grace), "LIGHTNING_META_COMMAND": json.dumps(command)}
    if job.setup:
        variables["LIGHTNING_META_SETUP"] = "\n".join(job.setup)
    return [{"name": name, "value": literal(value)} for name, value in variables.items()]
