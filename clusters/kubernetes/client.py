"""The six calls of the Kubernetes API that a job needs, through the package `kubernetes` or else kubectl."""

import atexit
import json
import os
import shutil
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from clusters.core.job import JobError
from clusters.core.timeouts import SilentError, call_within

RESOURCES = {"rayjob": ("ray.io", "v1", "rayjobs"), "job": ("batch", "v1", "jobs")}
TIMEOUT = (10, 60)  # seconds to connect, and for an answer
CALL_SECONDS = 120.0  # seconds for both, and for a program that a kubeconfig names to log in by
ERRORS = {"(NotFound)": 404, "(AlreadyExists)": 409, "Unauthorized": 401, "must be logged in": 401, "(Forbidden)": 403}
NO_CLIENT = (
    "Kubernetes cannot be reached without the package kubernetes or kubectl: "
    "pip install 'lightning-meta[kubernetes]', or install kubectl, and set KUBECONFIG"
)


class NotThereError(JobError):
    """The object does not exist."""


class TakenError(JobError):
    """An object of that name exists already."""


class Api(ABC):
    """The calls. Kinds are `rayjob` and `job`; Kubernetes' objects are dictionaries."""

    @abstractmethod
    def create(self, kind: str, manifest: dict[str, Any]) -> None:
        """Create an object."""

    @abstractmethod
    def get(self, kind: str, namespace: str, name: str) -> dict[str, Any]:
        """Return an object."""

    @abstractmethod
    def with_label(self, kind: str, namespace: str, selector: str) -> list[dict[str, Any]]:
        """Return the objects that have a label."""

    @abstractmethod
    def delete(self, kind: str, namespace: str, name: str) -> None:
        """Delete an object and all that belongs to it; each pod gets its time to end."""

    @abstractmethod
    def pods(self, namespace: str, selector: str) -> list[dict[str, Any]]:
        """Return the pods that have a label."""

    @abstractmethod
    def pod_log(self, namespace: str, pod: str, container: str, follow: bool) -> Iterator[str]:
        """Yield the lines of a container's log and, with `follow`, those that come until it ends."""


def connect(context: str | None) -> Api:
    """Return a client: the package, if it is installed, else kubectl."""
    try:
        import kubernetes  # type: ignore[import-not-found]  # noqa: F401
    except ImportError:
        pass
    else:
        return PythonClient(context)
    if shutil.which("kubectl"):
        return Kubectl(context)
    raise JobError(NO_CLIENT)


class PythonClient(Api):
    """The package `kubernetes`, with a kubeconfig or in a pod of the cluster."""

    def __init__(self, context: str | None):
        from kubernetes import client, config  # type: ignore[import-not-found]

        def make_client() -> Any:
            if context or _kubeconfig():
                return config.new_client_from_config(config_file=_kubeconfig(), context=context)
            settings = client.Configuration()
            config.load_incluster_config(settings)
            return client.ApiClient(settings)

        try:
            api = call_within(CALL_SECONDS, "the login that the kubeconfig asks for", make_client)
        except config.ConfigException as error:
            raise JobError(
                f"the Kubernetes cluster is not known ({error}): set KUBECONFIG, and `context` in the profile"
            ) from error
        # every API group has the same paths, so that the one for custom objects serves batch/v1 as well
        self.objects, self.core = client.CustomObjectsApi(api), client.CoreV1Api(api)

    def create(self, kind: str, manifest: dict[str, Any]) -> None:
        group, version, plural = RESOURCES[kind]
        namespace = manifest["metadata"]["namespace"]
        place = (group, version, namespace, plural, manifest)
        self._call(self.objects.create_namespaced_custom_object, *place, field_validation="Strict")

    def get(self, kind: str, namespace: str, name: str) -> dict[str, Any]:
        group, version, plural = RESOURCES[kind]
        return self._call(self.objects.get_namespaced_custom_object, group, version, namespace, plural, name)

    def with_label(self, kind: str, namespace: str, selector: str) -> list[dict[str, Any]]:
        group, version, plural = RESOURCES[kind]
        place = (group, version, namespace, plural)
        return self._call(self.objects.list_namespaced_custom_object, *place, label_selector=selector)["items"]

    def delete(self, kind: str, namespace: str, name: str) -> None:
        group, version, plural = RESOURCES[kind]
        place = (group, version, namespace, plural, name)
        self._call(self.objects.delete_namespaced_custom_object, *place, propagation_policy="Background")

    def pods(self, namespace: str, selector: str) -> list[dict[str, Any]]:
        listed = self._call(self.core.list_namespaced_pod, namespace, label_selector=selector, _preload_content=False)
        return json.loads(listed.data)["items"]

    def pod_log(self, namespace: str, pod: str, container: str, follow: bool) -> Iterator[str]:
        # a followed log may be silent for hours; `lines_while` watches over it
        options = {"follow": True, "_request_timeout": None} if follow else {}
        call = self.core.read_namespaced_pod_log
        answer = self._call(call, pod, namespace, container=container, _preload_content=False, **options)
        rest = b""
        for part in answer.stream(2**14):
            *lines, rest = (rest + part).split(b"\n")
            yield from (line.decode(errors="replace") for line in lines)
        if rest:
            yield rest.decode(errors="replace")

    def _call(self, method: Any, *arguments: Any, **options: Any) -> Any:
        from kubernetes.client.exceptions import ApiException  # type: ignore[import-not-found]
        from urllib3.exceptions import HTTPError

        try:
            return call_within(
                CALL_SECONDS, "Kubernetes", method, *arguments, **{"_request_timeout": TIMEOUT, **options}
            )
        except ApiException as error:
            raise _refusal(error.status, _message(error.body) or str(error.reason)) from error
        except HTTPError as error:
            raise SilentError(
                f"Kubernetes gives no answer ({error}): give the right server in the kubeconfig"
            ) from error


class Kubectl(Api):
    """kubectl. Every argument is an element of a list, and no shell reads it."""

    def __init__(self, context: str | None):
        self.base = ["kubectl", *(["--context", context] if context else [])]

    def create(self, kind: str, manifest: dict[str, Any]) -> None:
        del kind
        self._run("create", "-f", "-", "-o", "name", text=json.dumps(manifest))

    def get(self, kind: str, namespace: str, name: str) -> dict[str, Any]:
        return json.loads(self._run("get", "-n", namespace, _resource(kind), name, "-o", "json"))

    def with_label(self, kind: str, namespace: str, selector: str) -> list[dict[str, Any]]:
        return json.loads(self._run("get", "-n", namespace, _resource(kind), "-l", selector, "-o", "json"))["items"]

    def delete(self, kind: str, namespace: str, name: str) -> None:
        self._run("delete", "-n", namespace, _resource(kind), name, "--wait=false")

    def pods(self, namespace: str, selector: str) -> list[dict[str, Any]]:
        return json.loads(self._run("get", "-n", namespace, "pods", "-l", selector, "-o", "json"))["items"]

    def pod_log(self, namespace: str, pod: str, container: str, follow: bool) -> Iterator[str]:
        command = [*self.base, "logs", "-n", namespace, pod, "-c", container, *(["-f"] if follow else [])]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout
            assert process.stderr
            atexit.register(process.kill)  # if the reader gives up
            try:
                for line in process.stdout:
                    yield line.rstrip("\n")
                message = process.stderr.read().strip()
            finally:
                atexit.unregister(process.kill)
                process.terminate()
        if message:
            raise JobError(f"kubectl: {message}")

    def _run(self, *arguments: str, text: str | None = None) -> str:
        command, options = [*self.base, *arguments], {"input": text, "capture_output": True, "text": True}
        try:
            done = subprocess.run(command, timeout=CALL_SECONDS, check=False, **options)
        except subprocess.TimeoutExpired as error:
            raise SilentError(f"kubectl gives no answer within {CALL_SECONDS:g} seconds: try again later") from error
        if done.returncode:
            message = done.stderr.strip()
            status = next((code for mark, code in ERRORS.items() if mark in message), None)
            raise _refusal(status, f"kubectl: {message}")
        return done.stdout


def _resource(kind: str) -> str:
    group, version, plural = RESOURCES[kind]
    return f"{plural}.{version}.{group}"


def _refusal(status: int | None, message: str) -> JobError:
    if status == 404:
        return NotThereError(message)
    if status == 409:
        return TakenError(message)
    if status in (401, 403):
        return JobError(f"Kubernetes refuses ({status}: {message}): log in again, or ask for the right to do this")
    return JobError(f"Kubernetes refuses: {message}")


def _message(body: str | bytes | None) -> str:
    try:
        return json.loads(body or "")["message"]
    except (ValueError, KeyError, TypeError):
        return str(body or "")[:500]


def _kubeconfig() -> str | None:
    """Return the files as kubectl finds them; the package reads KUBECONFIG only once, when it is imported."""
    named = os.environ.get("KUBECONFIG") or str(Path("~/.kube/config").expanduser())
    return named if any(Path(path).is_file() for path in named.split(os.pathsep)) else None
