"""A small API server for the tests of Kubernetes' client. It proves our requests, not Kubernetes' acceptance.

It keeps objects, hands them out, and checks what is posted against the same strict schemas as the program does; it runs
nothing. A test says how a job does (`status`) and adds pods with their logs. Some of its behaviour, the errors' bodies and the
codes 401, 404 and 409, is written after the API's reference.
"""

import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

from clusters.kubernetes.schema_check import check_manifest

TOKEN = "let-me-in"
OBJECT = re.compile(r"/apis/(?P<group>[\w.]+)/v1/namespaces/(?P<namespace>[\w-]+)/(?P<kind>\w+)(/(?P<name>[\w-]+))?")
PODS = re.compile(r"/api/v1/namespaces/(?P<namespace>[\w-]+)/pods(/(?P<name>[\w-]+)/log)?")
GROUPS = {"rayjobs": "ray.io", "jobs": "batch"}


class FakeKubernetes:
    """The server's contents: objects by (namespace, plural, name), pods by namespace, logs by pod and container."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str, str], dict[str, Any]] = {}
        self.pods: list[dict[str, Any]] = []
        self.logs: dict[tuple[str, str], list[str]] = {}
        self.ended: set[str] = set()  # pods whose logs are whole
        self.requests: list[str] = []

    def pod(
        self, name: str, labels: dict[str, str], container: str, lines: list[str], exit_code: int | None = None
    ) -> None:
        state = {"running": {}} if exit_code is None else {"terminated": {"exitCode": exit_code}}
        self.pods.append(
            {
                "metadata": {
                    "name": name,
                    "namespace": "research",
                    "labels": labels,
                    "creationTimestamp": f"2026-01-01T00:00:{len(self.pods):02d}Z",
                },
                "status": {"phase": "Running", "containerStatuses": [{"name": container, "state": state}]},
            }
        )
        self.logs[name, container] = lines


@contextmanager
def serving(folder: Path) -> Iterator[tuple[FakeKubernetes, Path]]:
    """The server's state, and a kubeconfig for it."""
    state = FakeKubernetes()
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(state))
    server.daemon_threads = True
    Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    kubeconfig = folder / "kubeconfig"
    contexts = {"fake": "fake", "stranger": "stranger"}
    address = f"http://127.0.0.1:{server.server_port}"
    settings = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "fake",
        "clusters": [{"name": "fake", "cluster": {"server": address}}],
        "users": [
            {"name": "fake", "user": {"token": TOKEN}},
            {"name": "stranger", "user": {"token": "another"}},
        ],
        "contexts": [{"name": name, "context": {"cluster": "fake", "user": user}} for name, user in contexts.items()],
    }
    kubeconfig.write_text(yaml.safe_dump(settings))
    try:
        yield state, kubeconfig
    finally:
        server.shutdown()
        server.server_close()


def handler(state: FakeKubernetes) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self, code: int, body: Any) -> None:
            data = json.dumps(body).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def refuse(self, code: int, reason: str, message: str) -> None:
            self.answer(
                code, {"kind": "Status", "status": "Failure", "reason": reason, "message": message, "code": code}
            )

        def dispatch(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            url = urlsplit(self.path)
            query = {key: value[0] for key, value in parse_qs(url.query).items()}
            state.requests.append(f"{self.command} {self.path}")
            if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                self.refuse(401, "Unauthorized", "Unauthorized")
            elif (found := OBJECT.fullmatch(url.path)) and GROUPS.get(found["kind"]) == found["group"]:
                self.object(found["namespace"], found["kind"], found["name"], body, query)
            elif found := PODS.fullmatch(url.path):
                self.log(found["name"], query) if found["name"] else self.list_pods(query)
            else:
                self.refuse(404, "NotFound", "the server could not find the requested resource")

        do_GET = do_POST = do_DELETE = dispatch  # noqa: N815

        def object(self, namespace: str, kind: str, name: str | None, body: Any, query: dict[str, str]) -> None:
            if self.command == "POST":
                check_manifest(body)
                assert query["fieldValidation"] == "Strict"
                key = (namespace, kind, body["metadata"]["name"])
                assert body["metadata"]["namespace"] == namespace
                if key in state.objects:
                    return self.refuse(409, "AlreadyExists", f'{kind} "{key[2]}" already exists')
                state.objects[key] = {**body, "status": {}}
                return self.answer(201, body)
            if name is None:
                wanted = dict([query["labelSelector"].split("=")])
                fit = [each for at, each in state.objects.items() if at[:2] == (namespace, kind)]
                fit = [each for each in fit if wanted.items() <= each["metadata"]["labels"].items()]
                return self.answer(200, {"items": fit})
            key = (namespace, kind, name)
            if key not in state.objects:
                return self.refuse(404, "NotFound", f'{kind} "{name}" not found')
            if self.command == "DELETE":
                assert query.get("propagationPolicy") == "Background"
                return self.answer(200, state.objects.pop(key))
            return self.answer(200, state.objects[key])

        def list_pods(self, query: dict[str, str]) -> None:
            wanted = dict(each.split("=") for each in query["labelSelector"].split(","))
            fit = [pod for pod in state.pods if wanted.items() <= pod["metadata"]["labels"].items()]
            self.answer(200, {"kind": "PodList", "apiVersion": "v1", "items": fit})

        def log(self, pod: str, query: dict[str, str]) -> None:
            lines = state.logs.get((pod, query.get("container", "")))
            if lines is None:
                return self.refuse(400, "BadRequest", f"container {query.get('container')} is not valid for pod {pod}")
            self.send_response(200)
            self.send_header("Content-Type", "text/plain")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            sent, whole = 0, False
            while not whole:
                whole = query.get("follow", "").lower() != "true" or pod in state.ended  # asked before reading
                new = lines[sent:]
                self.chunk("".join(line + "\n" for line in new).encode())
                sent += len(new)
                time.sleep(0.02)
            self.wfile.write(b"0\r\n\r\n")
            return None

        def chunk(self, data: bytes) -> None:
            if data:
                self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")

        def log_message(self, format: str, *args: Any) -> None:
            del format, args

    return Handler
