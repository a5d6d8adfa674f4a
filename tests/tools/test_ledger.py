"""The ledger reads what `test` wrote."""

import json
import subprocess
import sys
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from support.paths import ROOT

LEDGER = ROOT / "tools" / "ledger.py"


def test_a_row_sets_the_score_beside_the_papers_figure(tmp_path: Path) -> None:
    version = tmp_path / "omniglot_protonet" / "version_3"
    version.mkdir(parents=True)
    result = {
        "predictions": "inductive",
        "scores": {"accuracy": [0.984, 0.0019]},
        "other": None,
        "protocol": {"episodes": 1000},
        "checkpoint": {"path": "runs/x/last.ckpt", "steps": 8000, "cpu_seconds": 3600.0},
    }
    (version / "meta_test_5way_1shot.json").write_text(json.dumps(result))
    with SummaryWriter(version) as board:
        for step, accuracy in enumerate((0.5, 0.6, 0.7, 0.8, 0.85, 0.9)):
            board.add_scalar("meta_val/accuracy", accuracy, step)
    done = subprocess.run([sys.executable, LEDGER, tmp_path], capture_output=True, text=True, check=True)
    row = done.stdout.splitlines()[2]
    assert cells(row) == [
        "`omniglot_protonet.yaml`",
        "5-way 1-shot, inductive, 1000 episodes",
        "98.8 (Snell et al. 2017)",
        "98.40 +- 0.19",
        "-0.40",
        "8,000 steps, 60 CPU min, last",
        "50.0 60.0 70.0 80.0 85.0 90.0",
    ]


def test_the_versions_of_an_agent_are_its_seeds(tmp_path: Path) -> None:
    for seed, score in enumerate((6.5, 6.7)):
        version = tmp_path / "bandit_10_5_rl2" / f"version_{seed}"
        version.mkdir(parents=True)
        result = {
            "judged_by": "total",
            "protocol": {"tasks": 20000},
            "checkpoint": {"path": "runs/x/last.ckpt", "steps": 400, "cpu_seconds": 120.0},
            "scores": {"total": [score, 0.03]},
        }
        (version / "meta_test.json").write_text(json.dumps(result))
        with SummaryWriter(version) as board:
            for step, lived in enumerate((1e6, 4.1e6)):
                board.add_scalar("meta_train/steps", lived, step)
    done = subprocess.run([sys.executable, LEDGER, tmp_path], capture_output=True, text=True, check=True)
    assert cells(done.stdout.splitlines()[-1]) == [
        "`bandit_10_5_rl2.yaml`",
        "total, 20000 tasks",
        "6.7 (Duan et al. 2016)",
        "6.50 +- 0.03, 6.70 +- 0.03",
        "6.60",
        "-0.10",
        "4.1 M environment steps, 400 steps, 2 CPU min, last",
    ]


def cells(row: str) -> list[str]:
    return [cell.strip() for cell in row.strip("|").split("|")]
