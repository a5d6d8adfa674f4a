"""The comparison of strategies and trained agents as a user runs it."""

import json
import sys
from pathlib import Path

import pytest
import torch

from datamodules.worlds import Worlds
from lightning_meta.core import InputError
from lightning_meta.envs import Bandits
from lightning_meta.nn import GRU
from lightning_meta.rl import RL2


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parent.parent / "tools"))
    import compare_strategies

    return compare_strategies


def checkpoint(path: Path, arms: int) -> tuple[str, RL2]:
    """One such as `fit` writes."""
    torch.manual_seed(0)
    agent = RL2(GRU(4), observations=0, actions=arms)
    gru = {"class_path": "lightning_meta.nn.GRU", "init_args": {"width": 4}}
    learner = {"observations": 0, "actions": arms, "sequence": gru}
    world = {"class_path": "lightning_meta.envs.Bandits", "init_args": {"arms": arms, "horizon": 10}}
    parameters = {
        "learner": {"class_path": "lightning_meta.rl.RL2", "init_args": learner},
        "data": {"class_path": "datamodules.worlds.Worlds", "init_args": {"world": world}},
    }
    weights = {f"learner.{key}": value for key, value in agent.state_dict().items()}
    torch.save({"state_dict": weights, "hyper_parameters": parameters}, path)
    return str(path), agent.eval()


def test_a_trained_agent_has_its_row_beside_the_strategies(tool, tmp_path, monkeypatch, capsys):
    path, agent = checkpoint(tmp_path / "rl2.ckpt", 5)
    command = ["x", "bandits", "--arms", "5", "--pulls", "10", "--tasks", "30", "--choose", "20"]
    monkeypatch.setattr(sys, "argv", [*command, "--json", "--checkpoint", path])
    tool.main()
    rows = {row["strategy"]: row for row in json.loads(capsys.readouterr().out)["bandits"]}
    tasks = list(Worlds(Bandits(5, 10), test_tasks=30).streams("test")[0])
    with torch.no_grad():
        own = torch.cat([agent.returns(one).sum(1) for one in tasks])
    assert rows["RL2 of GRU, here"]["mean"] == pytest.approx(own.mean().item(), abs=1e-4), (
        "the tasks and luck of `lightning-meta test`"
    )
    assert rows["RL2 of GRU, here"]["ci95"] == pytest.approx(1.96 * own.std().item() / 30**0.5, abs=1e-4)
    assert rows["Oracle, told the task"]["mean"] > max(rows[name]["mean"] for name in ("Random", "Greedy"))
    assert rows["UCB1"]["paper"] == rows["RL2 of GRU, here"]["paper"] == 6.7
    assert rows["UCB1"]["chosen"].startswith("c 0.")


def test_a_checkpoint_of_no_table_is_refused(tool, tmp_path, monkeypatch):
    path, _ = checkpoint(tmp_path / "rl2.ckpt", 3)
    monkeypatch.setattr(sys, "argv", ["x", "bandits", "--quick", "--checkpoint", path])
    with pytest.raises(InputError, match="was trained in a world of none of the tables asked for: bandits"):
        tool.main()
