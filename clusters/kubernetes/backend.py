"""Kubernetes: KubeRay's RayJob for a search or a run on several nodes, a plain Job for a run on one."""

import json
import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import yaml

from clusters.core.backend import Backend
from clusters.core.client import Client
from clusters.core.files import read_json, write_whole
from clusters.core.job import ExistingJob, Job, JobError, Status
from clusters.core.passthrough import Passthrough
from clusters.core.timeouts import SilentError, lines_while
from clusters.kubernetes.client import Api, NotThereError, TakenError, connect
from clusters.kubernetes.manifest import DIGEST, manifest
from clusters.kubernetes.options import OPTIONS
from clusters.kubernetes.schema_check import check_manifest
from clusters.kubernetes.states import object_status

NOTES = "kubernetes.json"  # in the job's folder: what its id does not say
POLL = 10.0  # seconds between two looks for a pod


class Kubernetes(Backend):
    """Jobs on Kubernetes. Their ids are KIND/NAMESPACE/NAME, such as rayjob/default/omniglot-pbt.

    A manifest is checked offline before it is sent, against a schema that knows every legal key (schema_check.py). A job that
    differs in nothing from one that waits, runs or has succeeded there is not started again.

    A pod that Kubernetes evicts gets SIGTERM, then `grace_seconds` to save its state (LIGHTNING_META_PREEMPTIBLE=1 asks the
    run to). A Job replaces a pod that was evicted, without counting, and one that ended with status 75 or by SIGTERM up to
    `max_restarts` times; any other failure is final. To resume, the run needs its folder on a volume.
    """

    name = "kubernetes"
    summary = "Kubernetes: a plain Job, or KubeRay's RayJob"
    options = OPTIONS
    unsupported: ClassVar = {"array": "submit once per seed, with --seed_everything"}
    passthrough = Passthrough("kubernetes", "spec.template.spec.schedulerName=volcano")
    client = Client(
        "pip install 'lightning-meta[kubernetes]', or install kubectl", programs=("kubectl",), packages=("kubernetes",)
    )
    secrets = (
        "everybody who may read the job would see it: put it into a Secret of Kubernetes, and `secrets: {VARIABLE: SECRET/KEY}`"
        " into the profile"
    )

    def script(self, job: Job) -> str:
        document = manifest(job)
        check_manifest(document)
        return yaml.dump(document, Dumper=_NoAliases, sort_keys=False, width=120)

    def check(self, job: Job, rendered: str, dry_run: bool = False) -> None: ...

    def find_existing(self, job: Job, rendered: str) -> ExistingJob | None:
        document = yaml.safe_load(rendered)
        kind, metadata = document["kind"].lower(), document["metadata"]
        namespace, digest = metadata["namespace"], metadata["labels"][DIGEST]
        try:
            objects = connect(job.options.get("context")).with_label(kind, namespace, f"{DIGEST}={digest}")
        except NotThereError as error:
            raise _no_place(error, kind, namespace) from error
        for there in objects:
            state = object_status(kind, there, lambda: None).state
            if state in ("pending", "running", "succeeded"):
                return ExistingJob(f"{kind}/{namespace}/{there['metadata']['name']}", state)
        return None

    def submit(self, job: Job, rendered: str) -> str:
        document = yaml.safe_load(rendered)
        kind, metadata, context = document["kind"].lower(), document["metadata"], job.options.get("context")
        namespace, name = metadata["namespace"], metadata["name"]
        api = connect(context)
        write_whole(job.folder / NOTES, json.dumps({"context": context}) + "\n")
        try:
            api.create(kind, document)
        except TakenError as error:
            raise JobError(f"{name} is the name of a job that has just been submitted: submit it again") from error
        except NotThereError as error:
            raise _no_place(error, kind, namespace) from error
        return f"{kind}/{namespace}/{name}"

    def statuses(self, jobs: Sequence[tuple[str, Path]]) -> list[Status]:
        """Return the states of jobs. A cluster that does not answer about one of its jobs is not asked about the others."""
        silent: dict[object, str] = {}
        answers = []
        for id, folder in jobs:
            context = None
            try:
                context = _context(folder)
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
        return object_status(kind, there, lambda: _exit_code(api, namespace, name))

    def logs(self, id: str, folder: Path, follow: bool = False) -> Iterator[str]:
        kind, namespace, name = _parts(id)
        api = connect(_context(folder))
        shown: set[str] = set()
        while True:
            going = follow and self.status(id, folder).state in ("pending", "running")  # asked before the pods are
            try:
                pod, container = _logging_pod(api, kind, namespace, name)
            except NotThereError:
                if shown:
                    return  # it was deleted while we listened
                raise
            if pod and pod["status"].get("phase") != "Pending" and pod["metadata"]["name"] not in shown:
                shown.add(pod["metadata"]["name"])
                lines = api.pod_log(namespace, pod["metadata"]["name"], container, follow)
                yield from lines_while(lines, lambda: self.status(id, folder).state in ("pending", "running"))
            elif going:
                time.sleep(POLL)  # until the first pod comes, or the one that replaces an evicted pod
            if not going:
                return

    def cancel(self, id: str, folder: Path) -> None:
        kind, namespace, name = _parts(id)
        connect(_context(folder)).delete(kind, namespace, name)
        write_whole(folder / "cancelled", "")


class _NoAliases(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        return True


def _logging_pod(api: Api, kind: str, namespace: str, name: str) -> tuple[dict[str, Any] | None, str]:
    """Return the newest pod that has the run's output, and the name of its container."""
    there = api.get(kind, namespace, name)
    mode = there["spec"].get("submissionMode")
    if kind == "rayjob" and mode != "K8sJobMode":
        status = there.get("status", {})
        if mode != "SidecarMode":
            raise JobError(
                "the output of a RayJob of submissionMode HTTPMode stays on its head: give submission_mode K8sJobMode, or ask"
                f" the head: kubectl exec -n {namespace} HEAD -- ray job logs {status.get('jobId', 'JOB')}"
            )
        selector = f"ray.io/cluster={status.get('rayClusterName', '')},ray.io/node-type=head"
        container = "ray-job-submitter"
    else:
        selector = f"job-name={name}"
        container = "ray-job-submitter" if kind == "rayjob" else "main"
    pods = api.pods(namespace, selector)
    return max(pods, key=lambda pod: pod["metadata"].get("creationTimestamp", ""), default=None), container


def _exit_code(api: Api, namespace: str, name: str) -> int | None:
    pod, _ = _logging_pod(api, "job", namespace, name)
    statuses = pod["status"].get("containerStatuses", []) if pod else []
    ended = [each["state"]["terminated"] for each in statuses if "terminated" in each.get("state", {})]
    return ended[0]["exitCode"] if ended else None


def _no_place(error: NotThereError, kind: str, namespace: str) -> JobError:
    missing = "KubeRay is not installed there, or the namespace" if kind == "rayjob" else "the namespace"
    return JobError(f"{error}: {missing} {namespace} does not exist")


def _parts(id: str) -> tuple[str, str, str]:
    kind, _, rest = id.partition("/")
    namespace, _, name = rest.partition("/")
    if kind not in ("job", "rayjob") or not re.fullmatch(r"[a-z0-9-]+/[a-z0-9-]+", rest):
        raise JobError(f"{id!r} is not a job of Kubernetes: give rayjob/NAMESPACE/NAME or job/NAMESPACE/NAME")
    return kind, namespace, name


def _context(folder: Path) -> str | None:
    return read_json(folder / NOTES).get("context")
