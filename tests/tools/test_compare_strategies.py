"""The comparison of strategies and trained agents as a user runs it."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from datamodules.worlds import Worlds
from lightning_meta.core import InputError, World
from lightning_meta.envs import Bandits, TwoArms
from lightning_meta.nn import GRU
from lightning_meta.rl import RL2
from support.paths import ROOT


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    import compare_strategies

    return compare_strategies


def checkpoint(path: Path, world: World, **init_args: Any) -> tuple[str, RL2]:
    """One such as `fit` writes, of an agent in a world of those arguments."""
    torch.manual_seed(0)
    gru = {"class_path": "lightning_meta.nn.GRU", "init_args": {"width": 4}}
    spaces = {"observations": world.observations, "actions": world.actions}
    agent = RL2(GRU(4), **spaces)
    trained_in = {"class_path": f"lightning_meta.envs.{type(world).__name__}", "init_args": init_args}
    parameters = {
        "learner": {"class_path": "lightning_meta.rl.RL2", "init_args": {**spaces, "sequence": gru}},
        "data": {"class_path": "datamodules.worlds.Worlds", "init_args": {"world": trained_in}},
    }
    weights = {f"learner.{key}": value for key, value in agent.state_dict().items()}
    torch.save({"state_dict": weights, "hyper_parameters": parameters}, path)
    return str(path), agent.eval()


@pytest.mark.slow
def test_a_trained_agent_has_its_row_beside_the_strategies(tool, tmp_path, monkeypatch, capsys):
    path, agent = checkpoint(tmp_path / "rl2.ckpt", Bandits(5, 10), arms=5, horizon=10)
    command = ["x", "bandits", "--arms", "5", "--pulls", "10", "--tasks", "30", "--choose", "20"]
    monkeypatch.setattr(sys, "argv", [*command, "--json", "--checkpoint", path])
    tool.main()
    rows = {row["strategy"]: row for row in json.loads(capsys.readouterr().out)["bandits"]}
    tasks = list(Worlds(Bandits(5, 10), test_tasks=30).streams("test")[0])
    with torch.no_grad():
        own = torch.cat([agent.returns(one).sum(1) for one in tasks])
    assert rows["RL2 of GRU, here"]["mean"] == pytest.approx(own.mean().item(), abs=1e-4), (
        "the tasks and random numbers of `lightning-meta test`"
    )
    assert rows["RL2 of GRU, here"]["ci95"] == pytest.approx(1.96 * own.std().item() / 30**0.5, abs=1e-4)
    assert rows["Oracle, told the task"]["mean"] > max(rows[name]["mean"] for name in ("Random", "Greedy"))
    assert rows["UCB1"]["paper"] == rows["RL2 of GRU, here"]["paper"] == 6.7
    assert rows["UCB1"]["chosen"].startswith("c 0.")


def test_an_agent_of_two_arms_is_scored_on_arms_of_all_odds(tool, tmp_path, monkeypatch, capsys):
    path, agent = checkpoint(tmp_path / "rl2.ckpt", TwoArms("uniform"), odds="uniform")
    monkeypatch.setattr(sys, "argv", ["x", "two_arms", "--strategies", "--tasks", "20", "--json", "--checkpoint", path])
    tool.main()
    rows = json.loads(capsys.readouterr().out)["two_arms"]
    assert [row["setting"] for row in rows] == ["independent", "uniform", "easy", "medium", "hard"]
    assert {row["strategy"] for row in rows} == {"RL2 of GRU, trained on uniform arms"}
    (mdps,) = Worlds(TwoArms("easy"), test_tasks=20).streams("test")[0]
    with torch.no_grad():
        trajectory, _ = mdps.rollout(agent.prior(mdps), purpose="trial")
    odds = mdps.task.gather(1, trajectory.action[:, 0])
    assert rows[2]["mean"] == pytest.approx((0.9 - odds).sum(1).mean().item(), abs=1e-3), "0.8 a wrong pull"


def test_a_checkpoint_that_belongs_to_no_table_is_refused(tool, tmp_path, monkeypatch):
    path, _ = checkpoint(tmp_path / "rl2.ckpt", Bandits(3, 10), arms=3, horizon=10)
    monkeypatch.setattr(sys, "argv", ["x", "bandits", "--quick", "--checkpoint", path])
    with pytest.raises(InputError, match="was trained in a world of none of the tables asked for: bandits"):
        tool.main()


def test_an_unknown_strategy_is_refused(tool, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["x", "--strategies", "UCB1", "ucb2"])
    with pytest.raises(SystemExit):
        tool.main()
    assert "no strategy ucb2: give some of BEB, Epsilon-greedy, Gittins" in capsys.readouterr().err
