"""States of jobs, read from the objects of Kubernetes."""

import re
from collections.abc import Callable
from typing import Any

from clusters.core.job import State, Status

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


def object_status(kind: str, there: dict[str, Any], exit_code: Callable[[], int | None]) -> Status:
    """Return the status of an object.

    Args:
        kind: rayjob or job.
        there: The object as Kubernetes returns it.
        exit_code: Returns the exit code of a failed job's container.
    """
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
