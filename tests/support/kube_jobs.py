"""Jobs for the tests of Kubernetes."""

from pathlib import Path
from typing import Any

from clusters.core.job import Job

PROFILE = {
    "image": "registry.example.org/lightning-meta:1",
    "ray_version": "2.60.0",
    "namespace": "research",
    "node_selector": {"gpu": "h100"},
    "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
    "secrets": {"HF_TOKEN": "hub/token"},
    "volumes": [{"name": "runs", "persistentVolumeClaim": {"claimName": "runs"}}],
    "volume_mounts": [{"name": "runs", "mountPath": "/runs"}],
    "workdir": "/runs",
    "labels": {"kueue.x-k8s.io/queue-name": "team"},
    "image_pull_secrets": ["registry"],
    "image_pull_policy": "Always",
    "service_account": "trainer",
    "priority_class": "low",
}
FIT = ("fit", "--config", "omniglot-maml.yaml")
TUNE = ("tune", "--config", "omniglot.yaml", "--config", "search/pbt_inner_lr_shots.yaml")
HOSTILE = (
    "a b",
    "'",
    '"',
    ";touch touched;",
    "$(touch touched)",
    "$HOME",
    "$(HOME)",
    "`touch touched`",
    "$$(X)",
    "x\ny",
    "\\",
    "-",
)


def job(folder: Path, *command: str, **fields: Any) -> Job:
    options = {**PROFILE, **fields.pop("options", {})}
    fields = {"name": "Omniglot_MAML.1", "nodes": 1, "gpus_per_node": 1, "cpus_per_task": 4, "memory": "16G", **fields}
    return Job(command=command, folder=folder / "jobs" / fields["name"], workdir=folder, options=options, **fields)


def jobs(folder: Path) -> dict[str, Job]:
    """One of each kind that can be rendered."""
    return {
        "fit": job(folder, *FIT),
        "fit bare": job(folder, *FIT, gpus_per_node=0, memory=None, time="1-12:00:00"),
        "fit on a RayJob": job(folder, *FIT, options={"kind": "rayjob"}),
        "fit on nodes": job(folder, *FIT, nodes=3, gpus_per_node=8, setup=("true",)),
        "set-up": job(folder, *FIT, setup=("ulimit -n 65536", "A=$(nproc)", "export A"), time="90m"),
        "tune": job(folder, *TUNE, nodes=4, gpus_per_node=8, time="4h"),
        "tune set-up": job(folder, *TUNE, nodes=2, setup=("true",), environment={"LIGHTNING_META_DATA": "/data"}),
        "tune sidecar": job(folder, *TUNE, options={"submission_mode": "SidecarMode"}),
        "tune http": job(folder, *TUNE, options={"submission_mode": "HTTPMode"}),
        "tune on one node": job(folder, *TUNE, options={"kind": "job"}),
        "hostile": job(folder, "fit", *HOSTILE, name="A_very.long-Name" * 4, environment={"A": "$(touch x) '\""}),
        "passed through": job(
            folder, *FIT, passthrough=("spec.template.spec.schedulerName=volcano", "--spec.suspend=true")
        ),
    }
