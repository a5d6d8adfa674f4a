"""A user at the login node of a Slurm cluster."""

import json
from pathlib import Path
from typing import Any

from support.resumable import config
from support.runs import lightning_meta, write_yaml
from support.slurm_here import Slurm

PROFILES = {  # both nodes are this host
    "here": {"master_addr": "127.0.0.1", "environment": {"GLOO_SOCKET_IFNAME": "lo"}, "time": "1h"},
    "low": {"master_addr": "127.0.0.1", "environment": {"GLOO_SOCKET_IFNAME": "lo"}, "time": "1h", "partition": "low"},
}


PREEMPTION = {"class_path": "lightning_meta.training.preemption.Preemption"}


class User:
    """Somebody at a login node."""

    def __init__(self, cluster: Slurm, folder: Path):
        self.cluster, self.folder = cluster, folder
        self.environment = {
            "SLURM_CONF": cluster.environment["SLURM_CONF"],
            "LIGHTNING_META_JOBS": str(folder / "jobs"),
            "LIGHTNING_META_PROFILES": write_yaml(folder / "profiles.yaml", PROFILES),
        }

    def __call__(self, *arguments: str, status: int = 0) -> str:
        done = lightning_meta(self.folder, *arguments, **self.environment)
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout + (done.stderr if status else "")

    def submit(self, *arguments: str) -> dict[str, Any]:
        return json.loads(self("submit", "slurm", "--json", *arguments))

    def status(self, id: str, status: int = 0) -> dict[str, Any]:
        return json.loads(self("jobs", "status", "--json", id, status=status))

    def fit(self, name: str, callbacks: list[dict[str, Any]], batches: int = 80) -> tuple[str, ...]:
        """A command; its run is told by the configuration's name."""
        content = config([PREEMPTION, *callbacks], dropout=0.3)
        content["data"]["init_args"]["epoch_batches"] = batches
        return "--", "fit", "--config", write_yaml(self.folder / f"{name}.yaml", content)

    def run(self, name: str, job: dict[str, Any]) -> Path:
        return self.folder / "runs" / name / Path(job["folder"]).name
