"""Manifests: every one that is rendered passes the strict schema, broken ones are refused, hostile words stay words."""

import copy
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from clusters.core.job import JobError
from clusters.kubernetes.backend import Kubernetes
from clusters.kubernetes.manifest import manifest
from clusters.kubernetes.schema_check import check_manifest
from support.kube_jobs import FIT, HOSTILE, TUNE, job, jobs
from support.paths import ROOT

pytest.importorskip("jsonschema")
KINDS = list(jobs(Path("any")))


@pytest.mark.parametrize("which", KINDS)
def test_what_is_rendered_passes_the_strict_schema(which: str, tmp_path: Path) -> None:
    each = jobs(tmp_path)[which]
    text = Kubernetes().render(each)
    assert yaml.safe_load(text) == manifest(each)
    check_manifest(yaml.safe_load(text))
    assert "&id" not in text
    assert text == Kubernetes().render(each), "pure"


def test_a_search_is_a_ray_cluster_with_a_worker_for_each_node(tmp_path: Path) -> None:
    made = manifest(jobs(tmp_path)["tune"])
    assert (made["apiVersion"], made["kind"]) == ("ray.io/v1", "RayJob")
    assert made["metadata"]["name"] == "omniglot-maml-1"
    assert "activeDeadlineSeconds" not in made["spec"], "which would count the wait for the GPUs"
    assert command_of(made)[:4] == ["timeout", "--signal=TERM", "--kill-after=120", "14400"]
    assert made["spec"]["shutdownAfterJobFinishes"] is True
    cluster = made["spec"]["rayClusterSpec"]
    assert cluster["authOptions"] == {"mode": "token"}
    (group,) = cluster["workerGroupSpecs"]
    assert (group["replicas"], group["minReplicas"], group["maxReplicas"]) == (4, 4, 4)
    (worker,) = group["template"]["spec"]["containers"]
    assert worker["resources"]["limits"] == {"cpu": "32", "memory": "16Gi", "nvidia.com/gpu": "8"}
    assert {"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": "hub", "key": "token"}}} in worker["env"]
    assert group["template"]["spec"]["nodeSelector"] == {"gpu": "h100"}
    assert not {"nodeSelector", "tolerations"} & at(*HEAD)(made).keys(), "the head needs no GPU"
    options = {"head_node_selector": {"pool": "cpu"}, "head_tolerations": [{"operator": "Exists"}]}
    head = at(*HEAD)(manifest(job(tmp_path, *TUNE, options=options)))
    assert (head["nodeSelector"], head["tolerations"]) == ({"pool": "cpu"}, [{"operator": "Exists"}])


def test_a_run_on_one_node_is_a_job(tmp_path: Path) -> None:
    made = manifest(job(tmp_path, *FIT))
    assert (made["apiVersion"], made["kind"]) == ("batch/v1", "Job")
    (container,) = made["spec"]["template"]["spec"]["containers"]
    assert container["command"] == ["lightning-meta", *FIT]
    assert {"name": "LIGHTNING_META_PREEMPTIBLE", "value": "1"} in container["env"]
    assert {"name": "LIGHTNING_META_RUN", "value": "omniglot-maml-1"} in container["env"], "where a new pod goes on"


def test_a_run_on_several_nodes_goes_to_the_workers_of_a_ray_cluster(tmp_path: Path) -> None:
    made = manifest(jobs(tmp_path)["fit on nodes"])
    assert (made["kind"], at(*GROUP)(made)["replicas"]) == ("RayJob", 3)
    command = command_of(made)
    assert command[:4] == ["python", "-m", "clusters.ray.run_on_nodes", "3"]
    assert json.loads(command[4]) == {"CPU": 32, "GPU": 8}
    assert command[5:7] == ["bash", "-c"]
    assert command[7].endswith('\nexec "$$@"'), "of which Kubernetes makes a single $"
    assert command[8:] == ["bash", "lightning-meta", *FIT]


def test_what_meets_its_time_goes_on_where_it_can_and_ends_where_it_cannot(tmp_path: Path) -> None:
    """timeout ends with 124, which the Job does not start again, unless it keeps the status: 75 of a fit that saved."""
    for command, keeps in ((FIT, True), (("test", "--ckpt_path", "a.ckpt"), False)):
        made = manifest(job(tmp_path, *command, time="1h"))
        words = at(*MAIN)(made)["command"]
        assert (words[0], "--preserve-status" in words) == ("timeout", keeps)
        rules = made["spec"]["podFailurePolicy"]["rules"]
        assert {"action": "FailJob", "onExitCodes": {"operator": "NotIn", "values": [75, 143]}} in rules


def command_of(made: dict[str, Any]) -> list[str]:
    """Return the command that the head of a RayJob runs."""
    (head,) = at(*HEAD)(made)["containers"]
    (command,) = [json.loads(each["value"]) for each in head["env"] if each["name"] == "LIGHTNING_META_COMMAND"]
    return command


# what is wrong, of which manifest, what it becomes, where the message points and what it says
def at(*path: str | int) -> Callable[[dict[str, Any]], Any]:
    def found(made: dict[str, Any]) -> Any:
        for part in path:
            made = made[part]  # type: ignore[index]
        return made

    return found


CLUSTER = ("spec", "rayClusterSpec")
GROUP = (*CLUSTER, "workerGroupSpecs", 0)
HEAD = (*CLUSTER, "headGroupSpec", "template", "spec")
POD = ("spec", "template", "spec")
MAIN = (*POD, "containers", 0)
W = "spec.rayClusterSpec.workerGroupSpecs[0]"
BROKEN = [
    ("tune", (), "spek", {}, "spek is not a key: did you mean spec?"),
    ("tune", ("spec",), "entrypont", "x", "spec.entrypont is not a key: did you mean entrypoint?"),
    (
        "tune",
        CLUSTER,
        "workerGroupSpec",
        [],
        "spec.rayClusterSpec.workerGroupSpec is not a key: did you mean worker",
    ),
    ("tune", GROUP, "replica", 3, f"{W}.replica is not a key: did you mean replicas?"),
    ("tune", (*HEAD, "containers", 0, "resources"), "limit", {}, "containers[0].resources.limit is not a key"),
    ("tune", (*HEAD, "containers", 0, "env", 0), "valu", "x", "env[0].valu is not a key: did you mean value?"),
    ("fit", (*POD, "tolerations", 0), "efect", "NoSchedule", "tolerations[0].efect"),
    ("tune", GROUP, "replicas", "4", f'{W}.replicas is "4": give an integer'),
    ("tune", ("spec",), "shutdownAfterJobFinishes", "yes", "give a boolean"),
    ("tune", ("spec",), "submissionMode", "K8SJobMode", "did you mean K8sJobMode?"),
    ("tune", ("spec",), "submissionMode", "Batch", "give K8sJobMode or HTTPMode or SidecarMode or InteractiveMode"),
    ("tune", ("spec",), "managedBy", "me", "give ray.io/kuberay-operator or "),
    ("tune", HEAD, "restartPolicy", "never", "did you mean Never?"),
    ("tune", (*HEAD, "containers", 0), "imagePullPolicy", "always", "did you mean Always?"),
    ("tune", (*CLUSTER, "authOptions"), "mode", "tokens", "rayClusterSpec.authOptions.mode is"),
    (
        "tune",
        (*HEAD, "containers", 0, "resources", "limits"),
        "cpu",
        "2 GB",
        'limits.cpu is "2 GB": give a quantity',
    ),
    ("tune", (*HEAD, "containers", 0, "resources", "limits"), "cpu", 1.5, "is 1.5: give an integer or a string"),
    ("tune", HEAD, "containers", [], "containers is empty"),
    ("tune", HEAD, "containers", [{"image": "x"}], "containers[0] lacks name"),
    ("tune", (*HEAD, "containers", 0, "env", 0), "name", "A-B", "env[0].name is 'A-B'"),
    ("tune", GROUP, "minReplicas", 9, f"{W} has minReplicas 9, replicas 4, maxReplicas 4"),
    ("tune", CLUSTER, "rayVersion", "2.40.0", "give 2.52.0 or later with authOptions"),
    ("tune", ("spec",), "backoffLimit", -1, "spec.backoffLimit is -1"),
    ("tune", ("spec",), "activeDeadlineSeconds", 0, "spec.activeDeadlineSeconds is 0"),
    ("tune", ("spec",), "submitterPodTemplate", None, "spec.submitterPodTemplate is null: give an object"),
    ("tune", ("metadata",), "name", "a" * 48, "at most 47 lower-case letters"),
    ("tune", ("metadata",), "name", "1st", "begin with a letter"),
    ("tune", ("metadata",), "label", {}, "metadata.label is not a key: did you mean labels?"),
    ("tune", ("metadata", "labels"), "team", "a b", "metadata.labels.team is 'a b'"),
    ("tune", (), "apiVersion", "ray.io/v1alpha1", "give ray.io/v1 RayJob or batch/v1 Job"),
    ("fit", ("spec",), "backofLimit", 3, "spec.backofLimit is not a key: did you mean backoffLimit?"),
    ("fit", ("spec",), "completionMode", "indexed", "did you mean Indexed?"),
    ("fit", ("spec",), "backoffLimit", -1, "spec.backoffLimit"),
    (
        "fit",
        ("spec", "podFailurePolicy", "rules", 0),
        "action",
        "Retry",
        "give FailJob or FailIndex or Ignore or Count",
    ),
    (
        "fit",
        POD,
        "restartPolicy",
        "Always",
        "spec.template.spec.restartPolicy is Always: give Never in this Job",
    ),
    ("fit", POD, "nodeSelektor", {}, "spec.template.spec.nodeSelektor"),
    (
        "fit",
        (*MAIN, "resources", "limits"),
        "memory",
        "2 GB",
        'memory is "2 GB": give a quantity such as 500m, 2 or 16Gi',
    ),
    (
        "fit",
        (*MAIN, "volumeMounts", 0),
        "mountpath",
        "/",
        "volumeMounts[0].mountpath is not a key: did you mean mountPath?",
    ),
]


@pytest.mark.parametrize(("which", "path", "key", "value", "says"), BROKEN)
def test_a_broken_manifest_is_refused(
    which: str, path: tuple[str | int, ...], key: str, value: Any, says: str, tmp_path: Path
) -> None:
    made = copy.deepcopy(manifest(jobs(tmp_path)[which]))
    at(*path)(made)[key] = value
    with pytest.raises(JobError, match=re.escape(says)):
        check_manifest(made)


def expanded(text: str, variables: dict[str, str]) -> str:
    """Return what Kubernetes makes of $(NAME) and $$ in a command or a variable, after its documentation."""
    pattern = r"\$\$|\$\(([^)]*)\)"
    return re.sub(pattern, lambda m: "$" if m[0] == "$$" else variables.get(m[1], m[0]), text)


@pytest.mark.parametrize("setup", [(), ("echo set up; export A='$(x)'", "test $(echo 1) = 1")])
@pytest.mark.parametrize("kind", ["job", "rayjob"])
def test_hostile_words_arrive_as_they_are(kind: str, setup: tuple[str, ...], tmp_path: Path) -> None:
    """The manifest's command, run as a node (and KubeRay's shells) would, gives lightning-meta exactly its words."""
    got = tmp_path / "got.json"
    stub = tmp_path / "bin" / "lightning-meta"
    stub.parent.mkdir()
    stub.write_text(f"#!{sys.executable}\nimport json, sys\njson.dump(sys.argv[1:], open({str(got)!r}, 'w'))\n")
    stub.chmod(0o755)
    command = "tune" if kind == "rayjob" else "fit"
    made = manifest(job(tmp_path, command, *HOSTILE, setup=setup, environment={"B": "$(A) '"}, options={"kind": kind}))
    pod = at(*HEAD)(made) if kind == "rayjob" else at(*POD)(made)
    (container,) = pod["containers"]
    variables: dict[str, str] = {"HOME": "/root", "X": "wrong"}
    for each in container["env"]:
        if "value" in each:
            variables[each["name"]] = expanded(each["value"], variables)
    assert variables["B"] == "$(A) '"
    if kind == "rayjob":  # the entrypoint goes through two shells
        words = ["bash", "-c", "bash -c " + shlex.quote(expanded(made["spec"]["entrypoint"], variables))]
    else:
        words = [expanded(word, variables) for word in container["command"]]
    python = str(Path(sys.executable).parent)
    paths = {"PATH": f"{stub.parent}:{python}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    subprocess.run(words, cwd=tmp_path, env={**variables, **paths}, check=True)
    assert json.loads(got.read_text()) == [command, *HOSTILE]
    assert not (tmp_path / "touched").exists()


def test_a_set_up_line_that_fails_ends_the_run(tmp_path: Path) -> None:
    (container,) = at(*POD)(manifest(job(tmp_path, "fit", setup=("false",))))["containers"]
    assert subprocess.run(container["command"], check=False).returncode == 1
