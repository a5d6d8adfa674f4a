"""The check of a Kubernetes manifest before it is sent: an API server drops a misspelt key in silence, this names it."""

import difflib
import json
import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from clusters.core.job import JobError

SCHEMAS = {
    ("ray.io/v1", "RayJob"): "rayjob",
    ("batch/v1", "Job"): "job",
}
LABEL = r"[a-z]([a-z0-9-]*[a-z0-9])?"  # DNS-1035, what KubeRay wants of a name; a DNS-1123 one may begin with a digit
LONGEST = {"RayJob": 47, "Job": 63}  # KubeRay adds a suffix to make the cluster's name
LABEL_VALUE = r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?"
TOKENS_SINCE = (2, 52)


def check_manifest(manifest: dict[str, Any]) -> None:
    """Raise JobError unless Kubernetes and KubeRay's operator would accept the manifest as it is meant.

    The schema is KubeRay's own (v1.7.0), made strict; `broken_rules` holds what its operator and the API server check besides.
    """
    kind = (str(manifest.get("apiVersion")), str(manifest.get("kind")))
    if kind not in SCHEMAS:
        legal = " or ".join(" ".join(each) for each in SCHEMAS)
        raise JobError(f"apiVersion and kind are {kind[0]} {kind[1]}: give {legal}")
    problems = [_message(error) for error in _errors(SCHEMAS[kind], manifest)] or list(broken_rules(manifest))
    if problems:
        more = f"\n... and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise JobError(
            f"the {kind[1]} {manifest.get('metadata', {}).get('name', '')} is not sent, because Kubernetes would refuse "
            "it or drop a part of it:\n" + "\n".join(problems[:5]) + more
        )


def broken_rules(manifest: dict[str, Any]) -> Iterator[str]:
    """Yield a message per broken rule that the schema does not express, for a manifest that follows it."""
    kind, metadata, spec = manifest["kind"], manifest["metadata"], manifest["spec"]
    name, longest = metadata["name"], LONGEST[kind]
    if not re.fullmatch(LABEL, name) or len(name) > longest:
        yield (
            f"metadata.name is {name!r}: give at most {longest} lower-case letters, digits and dashes that begin with a letter "
            "and do not end with a dash"
        )
    for key, value in metadata.get("labels", {}).items():
        if not re.fullmatch(LABEL_VALUE, value) or len(value) > 63:
            yield f"metadata.labels.{key} is {value!r}: give at most 63 letters, digits, dashes, dots and underscores"
    yield from _pods(manifest["spec"], "spec")
    yield from (_job_rules(spec) if kind == "Job" else _ray_rules(spec))


def _job_rules(spec: dict[str, Any]) -> Iterator[str]:
    restart = spec["template"].get("spec", {}).get("restartPolicy", "Always")
    legal = ["Never"] if "podFailurePolicy" in spec else ["Never", "OnFailure"]
    if restart not in legal:
        yield f"spec.template.spec.restartPolicy is {restart}: give {' or '.join(legal)} in this Job"


def _ray_rules(spec: dict[str, Any]) -> Iterator[str]:
    cluster, mode = spec.get("rayClusterSpec"), spec.get("submissionMode", "K8sJobMode")
    if cluster is None and not spec.get("clusterSelector"):
        yield "spec has neither rayClusterSpec nor clusterSelector: give one of them"
        return
    for field in ("activeDeadlineSeconds", "preRunningDeadlineSeconds"):
        if spec.get(field, 1) < 1:
            yield f"spec.{field} is {spec[field]}: give a positive number of seconds"
    for field in ("backoffLimit", "ttlSecondsAfterFinished"):
        if spec.get(field, 0) < 0:
            yield f"spec.{field} is {spec[field]}: give 0 or more"
    if mode in ("SidecarMode", "InteractiveMode") and "submitterPodTemplate" in spec:
        yield f"spec.submitterPodTemplate is not for submissionMode {mode}: leave it out, or give K8sJobMode"
    if mode == "InteractiveMode" and spec.get("backoffLimit", 0) > 0:
        yield "spec.backoffLimit is not for submissionMode InteractiveMode: give 0"
    if cluster is None:
        return
    if cluster.get("authOptions", {}).get("mode", "token" if "authOptions" in cluster else "") == "token":
        version = cluster.get("rayVersion", "")
        numbers = re.match(r"(\d+)\.(\d+)", version)
        if not numbers or tuple(map(int, numbers.groups())) < TOKENS_SINCE:
            yield f"spec.rayClusterSpec.rayVersion is {version!r}: give 2.52.0 or later with authOptions"
    for i, group in enumerate(cluster.get("workerGroupSpecs", [])):
        low, n, high = (group.get(key) for key in ("minReplicas", "replicas", "maxReplicas"))
        if None not in (low, n, high) and not 0 <= low <= n <= high:
            yield (
                f"spec.rayClusterSpec.workerGroupSpecs[{i}] has minReplicas {low}, replicas {n}, maxReplicas {high}: give 0 <= "
                "minReplicas <= replicas <= maxReplicas"
            )


def _pods(node: Any, path: str) -> Iterator[str]:
    """Yield a message per pod specification below that has no container, and per variable whose name is not legal."""
    if isinstance(node, list):
        for i, each in enumerate(node):
            yield from _pods(each, f"{path}[{i}]")
    elif isinstance(node, dict):
        for key, value in node.items():
            if key == "containers" and not value:
                yield f"{path}.containers is empty: give at least one container"
            if key == "env":
                for i, variable in enumerate(value):
                    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", variable["name"]):
                        yield f"{path}.env[{i}].name is {variable['name']!r}: give letters, digits and underscores"
            yield from _pods(value, f"{path}.{key}")


@cache
def _validator(name: str) -> Any:
    try:
        from jsonschema import Draft7Validator
    except ImportError as error:
        raise JobError(
            "the package jsonschema is missing, by which a manifest is checked: pip install 'lightning-meta[kubernetes]'"
        ) from error
    return Draft7Validator(json.loads((Path(__file__).parent / "schemas" / f"{name}.json").read_text()))


def _errors(name: str, manifest: dict[str, Any]) -> list[Any]:
    return sorted(_validator(name).iter_errors(manifest), key=lambda error: error.json_path)


def _message(error: Any) -> str:
    """Return a validation error as text: the path, its value, what to give."""
    path, legal = _path(error.absolute_path), error.schema
    if error.validator == "additionalProperties" and isinstance(error.instance, dict):
        known = legal.get("properties", {})
        return "\n".join(
            f"{_path((*error.absolute_path, key))} is not a key: {_nearest(key, known)}"
            for key in error.instance
            if key not in known
        )
    if error.validator == "required":
        missing = [key for key in error.validator_value if key not in error.instance]
        return f"{path or 'the manifest'} lacks {', '.join(missing)}: give it"
    start = f"{path} is {json.dumps(error.instance, default=str)[:80]}: "
    if error.validator == "enum":
        close = difflib.get_close_matches(str(error.instance), error.validator_value, 1, 0.5)
        return start + (f"did you mean {close[0]}?" if close else f"give {' or '.join(error.validator_value)}")
    if error.validator == "pattern" and "KMGTPE" in error.validator_value:
        return start + "give a quantity such as 500m, 2 or 16Gi"
    if error.validator == "anyOf":
        return start + "give " + " or ".join(_article(each["type"]) for each in error.validator_value)
    if error.validator == "type":
        kinds = [error.validator_value] if isinstance(error.validator_value, str) else error.validator_value
        return start + "give " + " or ".join(map(_article, kinds))
    return f"{path}: {error.message}"


def _nearest(key: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(key, known, 1, 0.5)
    return f"did you mean {close[0]}?" if close else f"give one of {', '.join(sorted(known))}"


def _article(kind: str) -> str:
    return f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"


def _path(parts: Iterable[str | int]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts).lstrip(".")
