"""A job as a Kubernetes manifest: KubeRay's RayJob, or a plain batch/v1 Job. Pure functions."""

import hashlib
import json
import re
from dataclasses import replace
from typing import Any

import yaml

from clusters.core.job import Job, JobError
from clusters.core.quoting import check, check_options, seconds
from clusters.core.secrets import is_secret
from clusters.kubernetes.entrypoint import wrapped
from clusters.ray.run_on_nodes import spread

OPTIONS = {
    "image": "the container image, with lightning-meta (and Ray for a RayJob) in it",
    "kind": "rayjob or job; else a job where one node suffices",
    "namespace": "where it runs, default",
    "context": "of the kubeconfig; the current one",
    "python": "the interpreter to run lightning-meta with; else the command is on the image's PATH",
    "workdir": "a folder in the container to run in",
    "node_selector": "{label: value} of the nodes; of a RayJob those of its workers",
    "tolerations": "a list, as in a pod; of a RayJob those of its workers",
    "head_node_selector": "{label: value} of the node of a RayJob's head, which needs no GPU",
    "head_tolerations": "a list, as in a pod, for a RayJob's head",
    "secrets": "{VARIABLE: SECRET/KEY}, variables whose values Kubernetes takes from its secrets",
    "volumes": "a list, as in a pod",
    "volume_mounts": "a list, as in a container",
    "image_pull_policy": "as in a container",
    "image_pull_secrets": "names of secrets",
    "service_account": "of the pods",
    "priority_class": "of the pods",
    "labels": "{label: value} of the job and its pods, such as kueue.x-k8s.io/queue-name",
    "gpu_resource": "what the cluster calls a GPU, nvidia.com/gpu",
    "grace_seconds": "between SIGTERM and SIGKILL, for a checkpoint: 120",
    "ttl_seconds": "how long the finished job is kept: a week",
    "ray_version": "of the image, such as 2.60.0; needed for a RayJob",
    "head_cpus": "of a RayJob's head, where the command itself runs: 2",
    "head_memory": "of a RayJob's head: 8Gi",
    "submission_mode": "of a RayJob: K8sJobMode, SidecarMode, or HTTPMode (whose output stays on the head)",
    "backoff_limit": "new clusters for a RayJob that failed: 0",
}
SHAPES = {
    **dict.fromkeys(("node_selector", "head_node_selector", "secrets", "labels"), dict),
    **dict.fromkeys(("tolerations", "head_tolerations", "volumes", "volume_mounts", "image_pull_secrets"), list),
    **dict.fromkeys(("image", "namespace", "context", "python", "workdir", "gpu_resource", "submission_mode"), str),
    **dict.fromkeys(("grace_seconds", "ttl_seconds", "backoff_limit"), int),
}
DIGEST = "lightning-meta/digest"  # a label: two jobs that differ in nothing but their folder have the same
RESUMES = 75  # what a run ends with that was told to stop, has saved its state and wants to go on
TERMINATED = 143


def manifest(job: Job) -> dict[str, Any]:
    """What is sent. Raises JobError for what cannot be said in Kubernetes."""
    made, anonymous = _manifest(job), _manifest(replace(job, folder=job.folder.with_name(job.name)))
    digest = hashlib.sha256(json.dumps(anonymous, sort_keys=True).encode()).hexdigest()[:16]
    made["metadata"]["labels"][DIGEST] = digest
    return made


def _manifest(job: Job) -> dict[str, Any]:
    options = job.options
    if job.array > 1:
        raise JobError(
            f"array: came {job.array}, legal on Kubernetes is 1; submit once for each seed, with --seed_everything"
        )
    check_options("kubernetes", options, OPTIONS, SHAPES)
    if not options.get("image"):
        raise JobError(
            "no image; Kubernetes runs a container image with lightning-meta in it: `image: REGISTRY/NAME:TAG` in the profile"
        )
    check(replace(job, memory=None, environment={}))  # whose values the schema, and _environment, judge
    kind, tune = options.get("kind"), job.command[:1] == ("tune",)
    if kind not in (None, "job", "rayjob"):
        raise JobError(f"kind: came {kind}, legal is rayjob | job")
    if job.nodes > 1 and kind == "job":
        raise JobError(f"kind: came job, which has one node, legal for {job.nodes} nodes is rayjob")
    made = _ray_job(job) if kind == "rayjob" or (kind is None and (tune or job.nodes > 1)) else _batch_job(job)
    for each in job.passthrough:
        assign(made, each)
    return made


def program(job: Job) -> list[str]:
    """What starts lightning-meta there."""
    return [str(job.options["python"]), "-m", "lightning_meta"] if "python" in job.options else ["lightning-meta"]


def timed(job: Job, words: list[str], grace: int, keep_status: bool = False) -> list[str]:
    """The argument list under the job's time limit, which counts from when it runs and not from when it was sent. What meets
    it ends with 124, or with a status of its own where that is kept."""
    if not job.time:
        return words
    keep = ["--preserve-status"] if keep_status else []
    return ["timeout", *keep, "--signal=TERM", f"--kill-after={grace}", str(seconds(job.time)), *words]


def kube_name(name: str, longest: int) -> str:
    """The nearest name that Kubernetes takes; one that had to be cut ends with a hash of the whole."""
    legal = re.sub(r"-+", "-", re.sub(r"[^a-z0-9-]", "-", name.lower())).strip("-")
    legal = legal if legal[:1].isalpha() else f"job-{legal}".rstrip("-")
    if len(legal) <= longest:
        return legal
    return f"{legal[: longest - 7].rstrip('-')}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"


def plain(text: str) -> str:
    """Text that stays as it is where Kubernetes would put variables in place of $(NAME)."""
    return text.replace("$", "$$")


def quantity(memory: str) -> str:
    """Slurm's 16G as Kubernetes' 16Gi; anything else unchanged, for the check to judge."""
    return re.sub(r"^(\d+)([KMGT])$", r"\1\2i", memory)


def _name(job: Job) -> str:
    """Of the object, and of the run."""
    return kube_name(job.folder.name, 47)


def _head(job: Job, api: str, kind: str) -> dict[str, Any]:
    labels = {"app.kubernetes.io/managed-by": "lightning-meta", **job.options.get("labels", {})}
    metadata = {
        "name": _name(job),
        "namespace": job.options.get("namespace", "default"),
        "labels": labels,
        "annotations": {"lightning-meta/name": job.name},
    }
    return {"apiVersion": api, "kind": kind, "metadata": metadata}


def _batch_job(job: Job) -> dict[str, Any]:
    pod = _pod(job, "main", str(job.cpus_of_a_node), job.memory, job.gpus_per_node)
    _place(pod, job.options, "")
    (container,) = pod["spec"]["containers"]
    words = [*program(job), *job.arguments(job.config or "")]
    # a run that has saved ends with 75, and goes on in another pod; what would begin anew is not started again for its time
    words = timed(job, words, job.options.get("grace_seconds", 120), keep_status=job.goes_on)
    container["command"] = [plain(word) for word in wrapped(words, list(job.setup))]
    pod["spec"]["restartPolicy"] = "Never"
    pod["spec"]["volumes"].append({"name": "shared-memory", "emptyDir": {"medium": "Memory"}})
    container["volumeMounts"].append({"name": "shared-memory", "mountPath": "/dev/shm"})
    spec: dict[str, Any] = {
        "backoffLimit": 10 if job.max_restarts is None else job.max_restarts,
        "ttlSecondsAfterFinished": job.options.get("ttl_seconds", 7 * 86400),
        "podFailurePolicy": {
            "rules": [  # the first that holds; a failure of the run's own is not tried again
                {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
                {"action": "FailJob", "onExitCodes": {"operator": "NotIn", "values": [RESUMES, TERMINATED]}},
            ]
        },
        "template": pod,
    }
    return {**_head(job, "batch/v1", "Job"), "spec": spec}


def _ray_job(job: Job) -> dict[str, Any]:
    options = job.options
    version = options.get("ray_version")
    if not isinstance(version, str):  # YAML reads 2.60 as the number 2.6
        came = (
            "no ray_version" if version is None else f"ray_version: came {version!r}, legal is a text of three numbers"
        )
        raise JobError(f"{came}; say which Ray the image has, such as `ray_version: 2.60.0` in the profile")
    if job.max_restarts is not None:
        raise JobError(
            "--max-restarts: nothing puts a RayJob back to go on where it was: leave it out, or give `backoff_limit` in the "
            "profile, by which KubeRay starts one that failed anew"
        )
    head = _pod(job, "ray-head", str(options.get("head_cpus", 2)), options.get("head_memory", "8Gi"), 0)
    grace = options.get("grace_seconds", 120)
    _place(head, options, "head_")
    command = [*program(job), *job.arguments(job.config or "")]
    if job.command[:1] != ("tune",):  # whose trials go to the workers by themselves
        command = spread(job, {}, command)
    command = timed(job, command, grace)
    variables = {"RAY_JOB_STOP_WAIT_TIME_S": str(grace), "LIGHTNING_META_COMMAND": json.dumps(command)}
    if job.setup:
        variables["LIGHTNING_META_SETUP"] = "\n".join(job.setup)
    head["spec"]["containers"][0]["env"] += [{"name": key, "value": plain(value)} for key, value in variables.items()]
    worker = _pod(job, "ray-worker", str(job.cpus_of_a_node), job.memory, job.gpus_per_node)
    _place(worker, options, "")
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
    if spec["submissionMode"] == "InteractiveMode":
        raise JobError(
            "submission_mode: InteractiveMode waits for somebody; legal is K8sJobMode | SidecarMode | HTTPMode"
        )
    return {**_head(job, "ray.io/v1", "RayJob"), "spec": spec}


def _pod(job: Job, name: str, cpus: str, memory: str | None, gpus: int) -> dict[str, Any]:
    """The template of a pod of one container."""
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
        spec["imagePullSecrets"] = [{"name": each} for each in options["image_pull_secrets"]]
    return {"metadata": {"labels": dict(options.get("labels", {}))}, "spec": spec}


def _place(pod: dict[str, Any], options: dict[str, Any], whose: str) -> None:
    """Where a pod may run: `whose` begins the names of the options."""
    for key, option in (("nodeSelector", "node_selector"), ("tolerations", "tolerations")):
        if f"{whose}{option}" in options:
            pod["spec"][key] = options[f"{whose}{option}"]


def _environment(job: Job) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []
    own = {"LIGHTNING_META_PREEMPTIBLE": "1", "LIGHTNING_META_RUN": _name(job)}
    for key, value in {**own, **job.environment}.items():
        if is_secret(key, value):
            raise JobError(
                f"the variable {key} looks like a secret, and everybody who may read the job would see it: put it into a "
                f"Secret of Kubernetes, and `secrets: {{{key}: SECRET/KEY}}` into the profile"
            )
        made.append({"name": key, "value": plain(value)})
    for key, value in job.options.get("secrets", {}).items():
        secret, _, field = str(value).partition("/")
        if not secret or not field:
            raise JobError(
                f"secrets.{key}: came {value!r}, legal is SECRET/KEY, the names of a Secret and of a key in it"
            )
        made.append({"name": key, "valueFrom": {"secretKeyRef": {"name": secret, "key": field}}})
    return made


def assign(made: dict[str, Any], assignment: str) -> None:
    """Put `spec.template.spec.schedulerName=volcano` into the manifest."""
    path, equals, value = assignment.removeprefix("--").partition("=")
    parts = [int(part) if part.isdigit() else part for part in re.findall(r"[^.\[\]]+", path)]
    if not equals or not parts:
        raise JobError(f"{assignment!r}: legal is PATH=VALUE, such as spec.ttlSecondsAfterFinished=60")
    node: Any = made
    try:
        for part in parts[:-1]:
            node = node.setdefault(part, {}) if isinstance(node, dict) else node[part]
        node[parts[-1]] = yaml.safe_load(value)
    except (TypeError, IndexError, AttributeError, yaml.YAMLError) as error:
        raise JobError(f"{assignment!r}: there is no such place in the manifest, or the value is not YAML") from error
