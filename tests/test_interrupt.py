"""Ctrl-C and its like, in real processes: what can be saved is, the status is that of the signal, and there is no traceback."""

import signal
from pathlib import Path
from typing import Any

import pytest
from runs import curve, lightning_meta, write_yaml
from test_resume import config

PREEMPTION = {"class_path": "lightning_meta.training.preemption.Preemption"}


def fit(folder: Path, *arguments: str, status: int, kill: dict[str, Any] | None = None) -> str:
    """Fit below `folder`, signalled as `kill` says; what it printed."""
    folder.mkdir(exist_ok=True)
    callbacks = [PREEMPTION, *([{"class_path": "runs.Kill", "init_args": kill}] if kill else [])]
    done = lightning_meta(
        folder, "fit", "--config", write_yaml(folder / "run.yaml", config(callbacks, 0.3)), *arguments
    )
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> dict[int, float]:
    folder = tmp_path_factory.mktemp("unbroken")
    fit(folder, status=0)
    return curve(folder / "runs/run/version_0", "meta_train/loss")


@pytest.mark.parametrize("sign", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_fit_saves_says_how_it_goes_on_and_ends_with_the_signals_status(
    sign: str, unbroken: dict[int, float], tmp_path: Path
) -> None:
    said = fit(tmp_path, "--data.num_workers=1", kill={"step": 2, "sign": sign}, status=128 + signal.Signals[sign])
    run = tmp_path / "runs/run/version_0"
    saved = run.relative_to(tmp_path) / "checkpoints/last.ckpt"
    assert f"told to stop: saved step 3 in {saved}" in said
    resume = next(line for line in said.splitlines() if line.startswith("resume:"))
    assert "--config" in resume
    if sign == "SIGINT":
        fit(tmp_path, "--data.num_workers=1", "--ckpt_path", "last", status=0)
        assert curve(run, "meta_train/loss") == unbroken
