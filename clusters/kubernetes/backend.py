"""Kubernetes: KubeRay's RayJob for a search or a run on several nodes, a plain Job for a run on one."""

import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from clusters.core.job import Backend, Job, JobError, State, Status, Twin
from clusters.core.job_folder import read_json, write
from clusters.core.timeouts import SilentError, watched
from clusters.kubernetes.client import Api, NotThereError, TakenError, connect
from clusters.kubernetes.manifest import DIGEST, manifest
from clusters.kubernetes.schema_check import check

NOTES = "kubernetes.json"  # in the job's folder: what its id does not say
DEPLOYMENT: dict[str, State] = {
    **dict.fromkeys(("", "Initializing", "Waiting", "Suspending", "Suspended", "Retrying"), "pending"),
    **dict.fromkeys(("Failed", "ValidationFailed"), "failed"),
}
RAY: dict[str, State] = {
    "": "pending",
    "PENDING": "pending",
    "RUNNING": "running",
    "SUCCEEDED": "succeeded",
    "FAILED": "failed",
    "STOPPED": "cancelled",
}
POLL = 10.0  # seconds between two questions for a pod


class Kubernetes(Backend):
    """Jobs on Kubernetes. Their ids are KIND/NAMESPACE/NAME, such as rayjob/default/omniglot-pbt.

    What is sent is checked before, offline, against a schema that knows every legal key (schema_check.py). A job that
    differs in nothing from one that waits, runs or has succeeded there is that one, and nothing is started.

    A pod that Kubernetes evicts gets SIGTERM, then `grace_seconds` to save its state (LIGHTNING_META_PREEMPTIBLE=1 tells
    the run to). A Job starts a pod anew that was evicted, without counting, and one that ended with 75 or by SIGTERM up to
    `max_restarts` times; any other failure is final. To go on where it was, the run needs its folder on a volume.
    """

    name = "kubernetes"

    def render(self, job: Job) -> str:
        return yaml.dump(_checked(job), Dumper=_NoAliases, sort_keys=False, width=120)

    def check(self, job: Job, dry_run: bool = False) -> None: ...

    def twin(self, job: Job) -> Twin | None:
        made = _checked(job)
        kind, metadata = made["kind"].lower(), made["metadata"]
        namespace, digest = metadata["namespace"], metadata["labels"][DIGEST]
        try:
            found = connect(job.options.get("context")).alike(kind, namespace, f"{DIGEST}={digest}")
        except NotThereError as error:
            raise _no_place(error, kind, namespace) from error
        for there in found:
            state = _state(kind, there, lambda: None).state
            if state in ("pending", "running", "succeeded"):
                return Twin(f"{kind}/{namespace}/{there['metadata']['name']}", state)
        return None

    def submit(self, job: Job) -> str:
        made = _checked(job)
        kind, metadata, context = made["kind"].lower(), made["metadata"], job.options.get("context")
        namespace, name = metadata["namespace"], metadata["name"]
        api = connect(context)
        write(job.folder / NOTES, json.dumps({"context": context}) + "\n")
        try:
            api.create(kind, made)
        except TakenError as error:
            raise JobError(f"{name}: somebody has just submitted another job of that name: submit it again") from error
        except NotThereError as error:
            raise _no_place(error, kind, namespace) from error
        return f"{kind}/{namespace}/{name}"

    def statuses(self, jobs: Sequence[tuple[str, Path]]) -> list[Status]:
        """A cluster that does not answer about one of its jobs is not asked about the others."""
        silent: dict[object, str] = {}
        answers = []
        for id, folder in jobs:
            context = None
            try:
                context = read_json(folder / NOTES).get("context")
                answers.append(
                    Status("unknown", detail=silent[context]) if context in silent else self.status(id, folder)
                )
            except SilentError as error:
                silent[context] = str(error)
                answers.append(Status("unknown", detail=str(error)))
            except JobError as error:
                answers.append(Status("unknown", detail=str(error)))
        return answers

    def status(self, id: str, folder: Path) -> Status:
        kind, namespace, name = _parts(id)
        api = connect(_context(folder))
        try:
            there = api.get(kind, namespace, name)
        except NotThereError:
            if (folder / "cancelled").exists():
                return Status("cancelled", detail="deleted")
            raise
        return _state(kind, there, lambda: self._exit(api, namespace, name))

    def logs(self, id: str, folder: Path, follow: bool = False) -> Iterator[str]:
        kind, namespace, name = _parts(id)
        api = connect(_context(folder))
        told: set[str] = set()
        while True:
            on = follow and self.status(id, folder).state in ("pending", "running")  # asked before the pods are
            try:
                pod, container = self._speaker(api, kind, namespace, name)
            except NotThereError:
                if told:
                    return  # it was deleted while we listened
                raise
            if pod and pod["status"].get("phase") != "Pending" and pod["metadata"]["name"] not in told:
                told.add(pod["metadata"]["name"])
                lines = api.pod_log(namespace, pod["metadata"]["name"], container, follow)
                yield from watched(lines, lambda: self.status(id, folder).state in ("pending", "running"))
            elif on:
                time.sleep(POLL)  # for the first pod, or the one that takes an evicted pod's place
            if not on:
                return

    def cancel(self, id: str, folder: Path) -> None:
        kind, namespace, name = _parts(id)
        connect(_context(folder)).delete(kind, namespace, name)
        write(folder / "cancelled", "")

    def _speaker(self, api: Api, kind: str, namespace: str, name: str) -> tuple[dict[str, Any] | None, str]:
        """The newest pod that has the run's output, and its container."""
        there = api.get(kind, namespace, name)
        if kind == "rayjob" and there["spec"].get("submissionMode") != "K8sJobMode":
            cluster = there.get("status", {}).get("rayClusterName", "")
            selector, container = f"ray.io/cluster={cluster},ray.io/node-type=head", "ray-job-submitter"
            if there["spec"].get("submissionMode") != "SidecarMode":
                raise JobError(
                    "the output of a RayJob of submissionMode HTTPMode stays on its head; take K8sJobMode, or ask the head: "
                    f"kubectl exec -n {namespace} HEAD -- ray job logs {there.get('status', {}).get('jobId', 'JOB')}"
                )
        else:
            selector = f"job-name={name}"
            container = "ray-job-submitter" if kind == "rayjob" else "main"
        pods = api.pods(namespace, selector)
        return max(pods, key=lambda pod: pod["metadata"].get("creationTimestamp", ""), default=None), container

    def _exit(self, api: Api, namespace: str, name: str) -> int | None:
        pod, _ = self._speaker(api, "job", namespace, name)
        statuses = pod["status"].get("containerStatuses", []) if pod else []
        ended = [each["state"]["terminated"] for each in statuses if "terminated" in each.get("state", {})]
        return ended[0]["exitCode"] if ended else None


class _NoAliases(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        return True


def _checked(job: Job) -> dict[str, Any]:
    made = manifest(job)
    check(made)
    return made


def _no_place(error: NotThereError, kind: str, namespace: str) -> JobError:
    missing = "KubeRay is not installed there, or the namespace" if kind == "rayjob" else "the namespace"
    return JobError(f"{error}: {missing} {namespace} does not exist")


def _state(kind: str, there: dict[str, Any], exit_code: Callable[[], int | None]) -> Status:
    if there["metadata"].get("deletionTimestamp"):
        return Status("cancelled", detail="being deleted")
    status = there.get("status", {})
    return _ray_status(status) if kind == "rayjob" else _job_status(status, exit_code)


def _ray_status(status: dict[str, Any]) -> Status:
    deployment, ray = status.get("jobDeploymentStatus", ""), status.get("jobStatus", "")
    reason, message = status.get("reason", ""), status.get("message", "")
    state = "cancelled" if ray == "STOPPED" else DEPLOYMENT.get(deployment) or RAY.get(ray, "unknown")
    code = re.search(r"exit code (-?\d+)", message) if state == "failed" else None
    detail = " ".join(filter(None, (deployment, ray, reason, message)))
    return Status(state, 0 if state == "succeeded" else int(code[1]) if code else None, status.get("failed", 0), detail)


def _job_status(status: dict[str, Any], exit_code: Callable[[], int | None]) -> Status:
    conditions = {each["type"]: each for each in status.get("conditions", []) if each.get("status") == "True"}
    restarts = status.get("failed", 0)
    if "Complete" in conditions:
        return Status("succeeded", 0, restarts, "Complete")
    if failed := conditions.get("Failed"):
        detail = " ".join(filter(None, ("Failed", failed.get("reason"), failed.get("message"))))
        return Status("failed", exit_code(), max(restarts - 1, 0), detail)
    state: State = "running" if status.get("ready") or status.get("terminating") else "pending"
    return Status(state, restarts=restarts, detail=", ".join(conditions) or f"{status.get('active', 0)} active")


def _parts(id: str) -> tuple[str, str, str]:
    kind, _, rest = id.partition("/")
    namespace, _, name = rest.partition("/")
    if kind not in ("job", "rayjob") or not re.fullmatch(r"[a-z0-9-]+/[a-z0-9-]+", rest):
        raise JobError(f"{id!r} is no job of Kubernetes; legal is rayjob/NAMESPACE/NAME or job/NAMESPACE/NAME")
    return kind, namespace, name


def _context(folder: Path) -> str | None:
    return read_json(folder / NOTES).get("context")
