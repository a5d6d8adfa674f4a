"""A run on several sources that was killed goes on with the very next meta-batch, with any number of loader workers."""

import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from support.mixtures import write_numbered
from support.resumable import config, state
from support.runs import curve, lightning_meta, write_yaml

SAMPLER = {"class_path": "datamodules.ConfiguredSize", "init_args": {"classes": "near"}}


def fit(folder: Path, data: dict[str, Any], *arguments: str, kill: int | None = None) -> Path:
    """Fit below `folder`, with or without a kill on the way, and return the run's folder."""
    callbacks = [{"class_path": "support.runs.Kill", "init_args": {"step": kill}}] if kill else []
    settings = config(callbacks, 0.3)
    backbone = {"class_path": "support.runs.NoisyMLP", "init_args": {"inputs": 36, "dropout": 0.3}}
    settings["model"]["learner"] = {
        "class_path": "lightning_meta.learners.ProtoNet",
        "init_args": {"backbone": backbone},
    }
    of_both = {name: {"root": str(folder.parent / f"numbered{i}"), "weight": 2 - i} for i, name in enumerate("ab")}
    arguments_of_data = {"sources": of_both, "meta_batch": 4, "epoch_batches": 8, "val_episodes": 8, "ways": 3, **data}
    settings["data"] = {
        "class_path": "datamodules.images.ImageEpisodes",
        "init_args": {"queries": 2, **arguments_of_data},
    }
    folder.mkdir(exist_ok=True)
    done = lightning_meta(folder, "fit", "--config", write_yaml(folder / "run.yaml", settings), *arguments)
    assert done.returncode == (-signal.SIGKILL if kill else 0), done.stderr
    return folder / "runs" / "run" / "version_0"


@pytest.mark.slow
@pytest.mark.parametrize(
    "data", [{"mix": "episodes", "sampler": SAMPLER}, {"mix": "classes"}], ids=["episodes", "classes"]
)
def test_a_killed_run_on_a_mixture_continues_like_an_unbroken_one(data: dict[str, Any], tmp_path: Path) -> None:
    for number in (0, 1):
        write_numbered(tmp_path, number)
    unbroken = fit(tmp_path / "unbroken", data)
    fit(tmp_path / "killed", data, "--data.num_workers=2", kill=11)
    resumed = fit(tmp_path / "killed", data, "--data.num_workers=1", "--ckpt_path", "last")
    assert all(torch.equal(weight, state(unbroken)[name]) for name, weight in state(resumed).items())
    names = [
        f"meta_val/{name}" for name in ("accuracy", *(("source/a", "source/b") if data["mix"] == "episodes" else ()))
    ]
    for name in names:
        scores = curve(unbroken, name)
        assert len(scores) == 3
        assert scores.items() >= curve(resumed, name).items()
