"""Ctrl-C and its like, in real processes: what can be saved is, the status is that of the signal, and there is no traceback."""

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_meta.cli.running import ending_with_one_message
from lightning_meta.core.signals import StoppedError
from support.resumable import config
from support.runs import lightning_meta, write_yaml

PREEMPTION = {"class_path": "lightning_meta.training.preemption.Preemption"}


def fit(folder: Path, *arguments: str, status: int, kill: dict[str, Any] | None = None) -> str:
    """Fit below `folder`, signalled as `kill` says; what it printed."""
    folder.mkdir(exist_ok=True)
    callbacks = [PREEMPTION, *([{"class_path": "support.runs.Kill", "init_args": kill}] if kill else [])]
    done = lightning_meta(
        folder, "fit", "--config", write_yaml(folder / "run.yaml", config(callbacks, 0.3)), *arguments
    )
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


SLURM = {
    "SLURM_JOB_ID": "7",
    "SLURM_JOB_NAME": "job",
    "SLURM_NTASKS": "1",
    "SLURM_PROCID": "0",
    "SLURM_LOCALID": "0",
    "SLURM_NODEID": "0",
}


@pytest.mark.parametrize(
    "sign", ["SIGINT", *(pytest.param(sign, marks=pytest.mark.slow) for sign in ("SIGTERM", "SIGHUP"))]
)
def test_a_fit_saves_says_how_it_goes_on_and_ends_with_the_signals_status(sign: str, tmp_path: Path) -> None:
    """test_preemption.py shows that such a run goes on as the unbroken one."""
    said = fit(tmp_path, "--data.num_workers=1", kill={"step": 2, "sign": sign}, status=128 + signal.Signals[sign])
    saved = "runs/run/version_0/checkpoints/last.ckpt"
    assert f"stopping on a signal: saved step 3 in {saved}" in said
    assert torch.load(tmp_path / saved, weights_only=True)["global_step"] == 3
    resume = next(line for line in said.splitlines() if line.startswith("resume:"))
    assert "lightning-meta fit --config" in resume
    assert resume.endswith(f"--ckpt_path {saved}")


@pytest.mark.slow
def test_two_processes_stop_together_where_one_has_the_signal(tmp_path: Path) -> None:
    two = ("--trainer.devices=2", "--trainer.strategy=ddp")
    said = fit(tmp_path, *two, kill={"step": 3, "sign": "SIGINT", "rank": 1}, status=130)
    assert said.count("stopping on a signal: saved step 5") == said.count("resume:") == 1


@pytest.mark.slow
def test_on_slurm_a_test_that_is_preempted_asks_for_another_start_and_leaves_nothing(tmp_path: Path) -> None:
    """Lightning's own handlers would have left hpc_ckpt_1.ckpt here, from which every later fit would have started."""
    fit(tmp_path, status=0)
    (tmp_path / "hpc_ckpt_4.ckpt").write_bytes(b"of another run")
    before = sorted(path for path in tmp_path.rglob("*") if "version_0" not in path.parts)
    kill = {"class_path": "support.runs.Kill", "init_args": {"tested": 1, "sign": "SIGUSR1"}}
    file = write_yaml(tmp_path / "run.yaml", config([PREEMPTION, kill], 0.3))
    command = ("test", "--config", file, "--ckpt_path", "last", "--data.test_episodes=40")
    done = lightning_meta(tmp_path, *command, **SLURM, LIGHTNING_META_PREEMPTIBLE="1")
    assert done.returncode == 75, done.stderr
    assert "Traceback" not in done.stderr
    assert "hpc_ckpt_4.ckpt is not used" in done.stderr
    assert sorted(path for path in tmp_path.rglob("*") if "version_0" not in path.parts) == before
    assert not list(tmp_path.rglob("meta_test*"))


def test_a_reader_that_leaves_ends_a_command_without_a_word(tmp_path: Path) -> None:
    code = "import sys; sys.argv[1:] = ['configs']; from lightning_meta.cli import main; main()"
    shell = f'"{sys.executable}" -c "{code}" | head -c 1 >/dev/null; exit "${{PIPESTATUS[0]}}"'
    done = subprocess.run(["bash", "-c", shell], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 128 + signal.SIGPIPE)  # 0 where all was written before the reader left
    assert done.stderr == ""


def test_a_command_without_a_training_ends_with_one_line(tmp_path: Path) -> None:
    """SIGINT while images are written: there is no set (test_write_restart.py shows what the same command continues from)."""
    command = [sys.executable, "-m", "lightning_meta", "shards", "write", "glyphs", "--classes", "1000", "--out", "set"]
    running = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    deadline = time.monotonic() + 60
    while not list(tmp_path.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.05)
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=60)
    assert running.returncode == 130, said
    assert said.splitlines()[-1] == "lightning-meta: stopped by SIGINT"
    assert "Traceback" not in said
    assert not (tmp_path / "set").exists()


def test_a_signal_that_a_library_turns_into_an_error_of_its_own_ends_the_command_all_the_same(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """NumPy, interrupted while it compares arrays, raises TypeError in the place of the handler's exception."""
    with pytest.raises(StoppedError) as stopped, ending_with_one_message(["shards"]):
        compare_interrupted()
    assert stopped.value.code == 130
    assert capsys.readouterr().err == "lightning-meta: stopped by SIGINT\n"


def compare_interrupted() -> None:
    try:
        signal.raise_signal(signal.SIGINT)
    except SystemExit:
        raise TypeError("Cannot compare structured arrays") from None
