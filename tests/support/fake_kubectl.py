"""The requests that kubectl makes for the six commands we give it, and its messages for what the server refuses.

It knows exactly our argument lists, and fails on others. Written after what kubectl 1.20 sent to the tests' own server.
"""

import http.client
import json
import os
import sys
from pathlib import Path

import yaml

RESOURCES = {"jobs.v1.batch": "batch/v1", "rayjobs.v1.ray.io": "ray.io/v1"}


def main(argv: list[str]) -> None:
    settings = yaml.safe_load(Path(os.environ["KUBECONFIG"]).read_text())
    context = argv.pop(1) if argv[0] == "--context" else settings["current-context"]
    argv = argv[1:] if argv[0] == "--context" else argv
    tokens = {each["name"]: each["user"]["token"] for each in settings["users"]}
    address = settings["clusters"][0]["cluster"]["server"].removeprefix("http://")
    match argv:
        case ["create", "-f", "-", "-o", "name"]:
            body = json.load(sys.stdin)
            plural, space = body["kind"].lower() + "s", body["metadata"]["namespace"]
            path = f"/apis/{body['apiVersion']}/namespaces/{space}/{plural}?fieldValidation=Strict"
            ask(address, tokens[context], "POST", path, json.dumps(body))
        case ["get", "-n", space, "pods", "-l", selector, "-o", "json"]:
            ask(address, tokens[context], "GET", f"/api/v1/namespaces/{space}/pods?labelSelector={selector}")
        case ["get", "-n", space, kind, "-l", selector, "-o", "json"]:
            ask(address, tokens[context], "GET", place(space, kind, "").rstrip("/") + f"?labelSelector={selector}")
        case ["get", "-n", space, kind, name, "-o", "json"]:
            ask(address, tokens[context], "GET", place(space, kind, name))
        case ["delete", "-n", space, kind, name, "--wait=false"]:
            ask(address, tokens[context], "DELETE", place(space, kind, name) + "?propagationPolicy=Background")
        case ["logs", "-n", space, pod, "-c", container, *follow] if follow in ([], ["-f"]):
            path = f"/api/v1/namespaces/{space}/pods/{pod}/log?container={container}"
            ask(address, tokens[context], "GET", path + "&follow=true" * len(follow))
        case _:
            sys.exit(f"error: unknown command {argv}")


def place(space: str, kind: str, name: str) -> str:
    return f"/apis/{RESOURCES[kind]}/namespaces/{space}/{kind.split('.')[0]}/{name}"


def ask(address: str, token: str, method: str, path: str, body: str | None = None) -> None:
    connection = http.client.HTTPConnection(address, timeout=60)
    connection.request(method, path, body, {"Authorization": f"Bearer {token}"})
    answer = connection.getresponse()
    if answer.status >= 300:
        said = json.load(answer)
        sys.exit(f"Error from server ({said['reason']}): {said['message']}")
    while part := answer.read1(2**14):
        sys.stdout.buffer.write(part)
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
