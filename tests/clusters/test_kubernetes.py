"""Kubernetes: the requests of a job's life, and what is refused before any.

The server is the tests' own (fake_kubernetes): it proves our requests, not Kubernetes' acceptance.
"""

import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from clusters.core.job import ExistingJob, Job, JobError, Status
from clusters.kubernetes import backend
from clusters.kubernetes.backend import Kubernetes
from support.fake_kubernetes import FakeKubernetes, serving
from support.kube_jobs import FIT, job, jobs
from support.paths import SUPPORT

pytest.importorskip("jsonschema")


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeKubernetes]:
    """The server, as the current context of this shell's kubeconfig."""
    with serving(tmp_path) as (state, kubeconfig):
        monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
        yield state


@pytest.fixture(params=["package", "kubectl"], autouse=True)
def client(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The Python package, or kubectl where that is not installed."""
    if request.param == "package":
        pytest.importorskip("kubernetes")
    else:
        monkeypatch.setitem(sys.modules, "kubernetes", None)
        kubectl = tmp_path / "bin" / "kubectl"
        kubectl.parent.mkdir()
        kubectl.write_text(f"#!{sys.executable}\n" + (SUPPORT / "fake_kubectl.py").read_text())
        kubectl.chmod(0o755)
        monkeypatch.setenv("PATH", f"{kubectl.parent}:{os.environ['PATH']}")
    return request.param


def submit(sent: Job) -> str:
    return Kubernetes().submit(sent, Kubernetes().render(sent))


def existing(sent: Job) -> ExistingJob | None:
    return Kubernetes().find_existing(sent, Kubernetes().render(sent))


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"options": {"image": ""}}, "image is not given: put `image: REGISTRY/NAME:TAG` into the profile"),
    ({"options": {"imag": "x"}}, "'imag' is not an option of kubernetes: did you mean image"),
    ({"options": {"kind": "deployment"}}, "kind is 'deployment': give job or rayjob"),
    ({"options": {"kind": "rayjob", "ray_version": None}}, "ray_version is not given"),
    ({"options": {"kind": "rayjob", "ray_version": 2.6}}, "ray_version is 2.6: give text"),
    ({"options": {"kind": "rayjob", "submission_mode": "Http"}}, "submission_mode is 'Http': give K8sJobMode or"),
    (
        {"options": {"kind": "rayjob", "submission_mode": "InteractiveMode"}},
        "'InteractiveMode': give K8sJobMode or",
    ),
    ({"options": {"tolerations": {"key": "x"}}}, "tolerations is .*: give a list .tolerations, as in a pod"),
    ({"options": {"secrets": {"A": "b"}}}, "secrets.A is 'b': give SECRET/KEY"),
    ({"environment": {"HF_TOKEN": "hf_1"}}, "HF_TOKEN looks like a secret"),
    ({"environment": {"DATABASE": "postgres://me:pass@host/x"}}, "DATABASE looks like a secret"),
    ({"memory": "16 GB"}, "memory is .16 GB.: give a quantity"),
    ({"time": "soon"}, "time is 'soon'"),
    ({"name": "; $(rm -rf /)"}, "name is '; "),
    ({"nodes": 0}, "nodes is 0: give 1 or more"),
    ({"gpus_per_node": -1}, "gpus-per-node is -1"),
    ({"nodes": 2, "options": {"kind": "job"}}, "kind is job, which has one node"),
    ({"array": 3}, "--array is 3"),
    ({"passthrough": ("--exclusive",)}, "give PATH=VALUE"),
    ({"passthrough": ("spec.template.spec.shedulerName=x",)}, "did you mean schedulerName?"),
    ({"passthrough": ("spec.template.spec.containers[7].image=x",)}, "cannot be set: give a path that exists"),
]


@pytest.mark.parametrize(("fields", "says"), REFUSED)
def test_a_job_that_cannot_be_said_is_refused_without_a_request(
    fields: dict[str, Any], says: str, tmp_path: Path, cluster: FakeKubernetes
) -> None:
    with pytest.raises(JobError, match=says):
        submit(job(tmp_path, *FIT, **fields))
    assert cluster.requests == []


def test_a_job_from_submission_to_its_end(tmp_path: Path, cluster: FakeKubernetes) -> None:
    kubernetes, sent = Kubernetes(), job(tmp_path, *FIT)
    id = submit(sent)
    assert id == "job/research/omniglot-maml-1"
    key = ("research", "jobs", "omniglot-maml-1")
    assert kubernetes.status(id, sent.folder) == Status("pending", None, 0, "0 active")
    assert list(kubernetes.logs(id, sent.folder)) == []
    cluster.objects[key]["status"] = {"active": 1, "ready": 1, "failed": 1}
    assert kubernetes.status(id, sent.folder)[:3] == ("running", None, 1)
    cluster.pod("first", {"job-name": key[2]}, "main", ["evicted"], 75)
    cluster.pod("second", {"job-name": key[2]}, "main", ["epoch 1", "epoch 2"], 3)
    assert list(kubernetes.logs(id, sent.folder)) == ["epoch 1", "epoch 2"]
    failed = {"type": "Failed", "status": "True", "reason": "PodFailurePolicy", "message": "exit code 3"}
    cluster.objects[key]["status"] = {"failed": 2, "conditions": [failed]}
    assert kubernetes.status(id, sent.folder) == Status("failed", 3, 1, "Failed PodFailurePolicy exit code 3")
    cluster.objects[key]["status"] = {"conditions": [{"type": "Complete", "status": "True"}]}
    assert kubernetes.status(id, sent.folder)[:2] == ("succeeded", 0)


def test_a_search_from_submission_to_its_end(tmp_path: Path, cluster: FakeKubernetes) -> None:
    kubernetes, sent = Kubernetes(), jobs(tmp_path)["tune"]
    id = submit(sent)
    assert id == "rayjob/research/omniglot-maml-1"
    there = cluster.objects["research", "rayjobs", "omniglot-maml-1"]
    for deployment, ray, message, expected in (
        ("", "", "", ("pending", None)),
        ("Initializing", "", "", ("pending", None)),
        ("Running", "PENDING", "", ("pending", None)),
        ("Running", "RUNNING", "", ("running", None)),
        ("Complete", "SUCCEEDED", "", ("succeeded", 0)),
        ("Failed", "FAILED", "Job entrypoint command failed with exit code 3, last logs", ("failed", 3)),
        ("Failed", "STOPPED", "", ("cancelled", None)),
        ("ValidationFailed", "", "", ("failed", None)),
        ("News", "News", "", ("unknown", None)),
    ):
        there["status"] = {"jobDeploymentStatus": deployment, "jobStatus": ray, "message": message, "failed": 0}
        assert kubernetes.status(id, sent.folder)[:2] == expected
    cluster.pod("submitter", {"job-name": "omniglot-maml-1"}, "ray-job-submitter", ["trial 1"])
    assert list(kubernetes.logs(id, sent.folder)) == ["trial 1"]


def test_logs_are_followed_to_the_end_also_into_the_pod_that_takes_over(
    tmp_path: Path, cluster: FakeKubernetes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend, "POLL", 0.05)
    sent, labels = job(tmp_path, *FIT), {"job-name": "omniglot-maml-1"}
    id = submit(sent)
    lines = ["one", "\u00fcber"]
    cluster.pod("first", labels, "main", lines)
    following = Kubernetes().logs(id, sent.folder, follow=True)
    assert [next(following), next(following)] == lines
    lines.append("evicted")
    cluster.ended.add("first")
    assert next(following) == "evicted"
    cluster.pod("second", labels, "main", ["goes on"])
    cluster.ended.add("second")
    assert next(following) == "goes on"
    complete = {"conditions": [{"type": "Complete", "status": "True"}]}
    cluster.objects["research", "jobs", "omniglot-maml-1"]["status"] = complete
    assert list(following) == []


def test_cancelling_deletes_the_job_and_what_belongs_to_it(tmp_path: Path, cluster: FakeKubernetes) -> None:
    kubernetes, sent = Kubernetes(), job(tmp_path, *FIT)
    id = submit(sent)
    kubernetes.cancel(id, sent.folder)
    assert cluster.objects == {}
    assert kubernetes.status(id, sent.folder).state == "cancelled"
    with pytest.raises(JobError, match="not found"):
        kubernetes.cancel(id, sent.folder)


def test_a_job_like_one_that_is_there_is_that_one_and_any_other_is_a_run_of_its_own(
    tmp_path: Path, cluster: FakeKubernetes
) -> None:
    sent = job(tmp_path, *FIT)
    assert existing(sent) is None
    id = submit(sent)
    again = replace(sent, folder=tmp_path / "jobs" / "again")
    assert existing(again) == (id, "pending")
    there = cluster.objects["research", "jobs", id.rpartition("/")[2]]
    there["status"] = {"conditions": [{"type": "Complete", "status": "True"}]}
    assert existing(again) == (id, "succeeded")
    for change in ({"command": ("fit", "--config", "b.yaml")}, {"environment": {"A": "1"}}, {"config": "seed: 1\n"}):
        assert existing(replace(again, **change)) is None
    there["status"] = {"conditions": [{"type": "Failed", "status": "True"}]}
    assert existing(again) is None, "what has failed may run again"
    other = submit(again)
    assert other != id
    runs = [
        [
            each["value"]
            for each in made["spec"]["template"]["spec"]["containers"][0]["env"]
            if each["name"].endswith("_RUN")
        ]
        for made in cluster.objects.values()
    ]
    assert runs == [[id.rpartition("/")[2]], [other.rpartition("/")[2]]], "no run finds the other's checkpoint"


def test_what_is_refused_says_what_to_do(
    tmp_path: Path, cluster: FakeKubernetes, client: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kubernetes = Kubernetes()
    for id in ("job/research/none", "rayjob/research/none"):
        with pytest.raises(JobError, match="not found"):
            kubernetes.status(id, tmp_path)
    for id in ("17", "job/none", "job/a b/c", "pod/a/b", "job/a/../../b"):
        with pytest.raises(JobError, match="give rayjob/NAMESPACE/NAME or job/NAMESPACE/NAME"):
            kubernetes.status(id, tmp_path)
    with pytest.raises(JobError, match=r"refuses .401.*log in again"):
        submit(job(tmp_path, *FIT, options={"context": "stranger"}))
    assert cluster.objects == {}
    if client == "kubectl":
        return  # which says the rest by itself
    with pytest.raises(JobError, match="set KUBECONFIG, and `context`"):
        submit(job(tmp_path, *FIT, options={"context": "nowhere"}))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    with pytest.raises(JobError, match=r"the Kubernetes cluster is not known.*set KUBECONFIG"):
        submit(job(tmp_path, *FIT))


def test_a_job_is_found_again_with_the_context_it_was_sent_with(tmp_path: Path, cluster: FakeKubernetes) -> None:
    sent = job(tmp_path, *FIT, options={"context": "fake"})
    id = submit(sent)
    kubeconfig = Path(os.environ["KUBECONFIG"])
    kubeconfig.write_text(kubeconfig.read_text().replace("current-context: fake", "current-context: stranger"))
    assert Kubernetes().status(id, sent.folder).state == "pending"
    assert len(cluster.objects) == 1


def test_without_the_package_and_kubectl_the_message_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "kubernetes", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(JobError, match=r"pip install 'lightning-meta\[kubernetes\]', or install kubectl"):
        submit(job(tmp_path, *FIT))
