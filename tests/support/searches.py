"""Searches on sinusoids as a user runs them, and the files that they leave."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from support.clusters_here import ENVIRONMENT
from support.runs import write_yaml

TUNE = [sys.executable, "-m", "lightning_meta", "tune", "--config", "sinusoid-maml.yaml"]
RATE, LR, SHOTS = "model.learner.init_args.inner_lr", "model.optimizer.init_args.lr", "data.init_args.shots"


def search(folder: Path, epochs: int, batches: int = 20, **options: Any) -> list[str]:
    """The command of a search on sinusoids, with these options, below `folder`."""
    config = {
        "search": {"cpus": 0.5, **options},
        "data": {"init_args": {"val_shots": [3, 5], "epoch_batches": batches, "meta_batch": 4}},
        "trainer": {"max_epochs": epochs, "log_every_n_steps": 1, "accelerator": "cpu"},
    }
    config["data"]["init_args"] |= {"val_episodes": 8, "test_episodes": 12}
    return [*TUNE, "--config", write_yaml(folder / "search.yaml", config)]


def run(folder: Path, command: list[str], status: int = 0) -> str:
    done = subprocess.run(
        command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def found(folder: Path) -> Path:
    return folder / "runs/sinusoid-maml-search/version_0"


def history(folder: Path) -> list[dict[str, Any]]:
    path = found(folder) / "history.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def report(folder: Path) -> dict[str, Any]:
    return json.loads((found(folder) / "search.json").read_text())


def weights(path: Path) -> dict[str, torch.Tensor]:
    return torch.load(path, weights_only=True)["state_dict"]
