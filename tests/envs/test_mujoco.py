"""Worlds of MuJoCo: they move as gymnasium's, pay what their papers say, and end where they should."""

import pickle
import shlex
import sys
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
import yaml
from torch import Tensor

from lightning_meta.cli import main
from lightning_meta.core import InputError, World
from lightning_meta.envs import AntDirection, HalfCheetahDirection, HalfCheetahVelocity
from support.policies import Anything, mdps
from support.runs import curve

ANT = {"contact_cost_weight": 0, "include_cfrc_ext_in_observation": False}
TASK = {
    "forward": lambda speed: speed,
    "backward": lambda speed: -speed,
    "1.5 m/s": lambda speed: -abs(speed - 1.5),
}


@pytest.mark.parametrize(
    ("animal", "task"), [*(("HalfCheetah-v5", task) for task in TASK), ("Ant-v5", "forward"), ("Ant-v5", "backward")]
)
def test_it_moves_and_pays_like_gymnasium(
    animal: str, task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same action in the same state gives the same observation and, except for the term of the task, the same reward."""
    monkeypatch.chdir(tmp_path)  # where MuJoCo writes down what it thinks of gymnasium's cheetah
    ant = animal == "Ant-v5"
    weights = ANT if ant else {"ctrl_cost_weight": 0.05}  # the papers' cost
    peer: Any = gymnasium.make(animal, **weights).unwrapped
    seen, _ = peer.reset(seed=3)
    world = AntDirection() if ant else HalfCheetahVelocity() if task == "1.5 m/s" else HalfCheetahDirection()
    what = torch.tensor([{"forward": 1.0, "backward": -1.0, "1.5 m/s": 1.5}[task]])
    assert world.describe(what) == [task]
    assert (world.observations, world.actions) == (len(seen), peer.action_space.shape[0])
    ended, rng = False, np.random.default_rng(0)
    for step in range(150):
        state = state_of(peer)
        np.testing.assert_array_equal(world.observe(state)[0, 0], seen)
        action = rng.uniform(-1, 1, world.actions)
        found = world.step(what, state, torch.from_numpy(action)[None, None], torch.zeros(1, 1, 1))
        seen, reward, ended, _, info = peer.step(action)
        np.testing.assert_allclose(found.observation[0, 0], seen, rtol=0, atol=1e-10)
        speed = (peer.data.qpos[0] - state[0, 0, 1].item()) / 0.05
        assert found.reward.item() == pytest.approx(reward - info["reward_forward"] + TASK[task](speed), abs=1e-9)
        assert found.terminated.item() == ended
        assert speed == pytest.approx(info["x_velocity"], abs=0.2 if ant else 1e-9)
        if ended:
            assert ant
            assert step > 10
            peer.reset(seed=step)
            seen = peer._get_obs()


def state_of(peer: Any) -> Tensor:
    """[1, 1, s]"""
    return torch.from_numpy(np.concatenate([[peer.data.time], peer.data.qpos, peer.data.qvel]))[None, None]


def test_an_ant_that_falls_ends_only_its_own_episode() -> None:
    world, task, u = AntDirection(horizon=30), torch.tensor([1.0]), torch.rand(1, 2, 1)
    state, _ = world.reset(task, u)
    state[0, 1, 3] = 2.0  # in the air
    step = world.step(task, state, torch.zeros(1, 2, 8), u)
    assert step.terminated.tolist() == [[False, True]]
    speed = (step.state - state)[0, :, 1] / 0.05
    torch.testing.assert_close(step.reward[0], speed + torch.tensor([1.0, 0.0]), msg="1 while upright")
    heights = torch.zeros(1, 5, 30)
    heights[..., 3] = torch.tensor([0.19, 0.21, 0.99, 1.01, torch.nan])
    assert world.has_fallen(heights).tolist() == [[True, False, False, True, True]]
    trajectory, _ = mdps(AntDirection(horizon=100), 0, 1).rollout(Anything(world), envs=8, episodes=2)
    fallen = trajectory.terminated
    assert fallen.any(), "random torques turn some over"
    assert not (fallen & trajectory.truncated).any()
    after = trajectory.time_steps.observation[..., 1:, 0][fallen[..., :-1] & (trajectory.valid[..., 1:])]
    assert ((after > 0.6) & (after < 0.9)).all(), "up again, in the same trial"


@pytest.mark.parametrize(
    "world", [HalfCheetahDirection(horizon=5), HalfCheetahVelocity(horizon=5)], ids=lambda w: type(w).__name__
)
def test_a_cheetah_runs_to_its_horizon(world: World) -> None:
    trajectory, _ = mdps(world, 0, 1).rollout(Anything(world), envs=2, episodes=2)
    assert not trajectory.terminated.any()
    assert trajectory.truncated[0, 0].tolist() == [False] * 4 + [True] + [False] * 4 + [True]
    begun = trajectory.time_steps.observation[..., 0, :]
    assert begun.shape[-1] == 17
    assert not torch.equal(begun[:, 0], begun[:, 1]), "each from a start of its own"
    assert begun[..., :8].abs().max() <= 0.1


def test_starts_are_spread_as_gymnasiums() -> None:
    world = HalfCheetahDirection()
    state, _ = world.reset(world.task(torch.tensor([0])), torch.rand(1, 4000, 1))
    assert state[..., 0].eq(0).all()
    torch.testing.assert_close(state[..., 1:10].std(), torch.tensor(0.2 / 12**0.5).double(), rtol=0.02, atol=0)
    torch.testing.assert_close(state[..., 10:].std(), torch.tensor(0.1).double(), rtol=0.02, atol=0)
    assert torch.corrcoef(state[0, :, 1:].T).fill_diagonal_(0).abs().max() < 0.08


def test_torques_beyond_the_strongest_are_clipped_and_cost_as_much() -> None:
    gentle, plain = HalfCheetahDirection(full_torque=10.0), HalfCheetahDirection()
    task, u = torch.tensor([1.0]), torch.rand(1, 1, 1)
    state, _ = plain.reset(task, u)
    one = plain.step(task, state, torch.full((1, 1, 6), 0.3), u)
    torch.testing.assert_close(gentle.step(task, state, torch.full((1, 1, 6), 3.0), u), one)
    most = plain.step(task, state, torch.ones(1, 1, 6), u)
    torch.testing.assert_close(plain.step(task, state, torch.full((1, 1, 6), 7.0), u), most)


def test_speeds_are_spread_between_their_limits() -> None:
    task = HalfCheetahVelocity(speeds=(0.0, 3.0)).task(torch.arange(500))
    assert task.min() > 0
    assert task.max() < 3
    assert task.quantile(torch.tensor([0.25, 0.75])).tolist() == pytest.approx([0.75, 2.25], abs=0.15)
    assert HalfCheetahDirection().task(torch.arange(4)).tolist() == [1, -1, 1, -1]


def test_a_world_is_a_value_that_can_be_sent() -> None:
    world = AntDirection()
    again = pickle.loads(pickle.dumps(world))
    task, u = torch.tensor([1.0]), torch.rand(1, 2, 1)
    state, _ = world.reset(task, u)
    found = [one.step(task, state, torch.full((1, 2, 8), 0.4), u) for one in (world, again)]
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=0)


def test_more_threads_give_the_same_result() -> None:
    """Nor does the history matter: the last of 40 bodies moves as it does by itself."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    world, alone = HalfCheetahDirection(), HalfCheetahDirection()
    torch.set_num_threads(before)
    task, u = torch.tensor([1.0]), torch.rand(1, 40, 1)
    state, _ = world.reset(task, u)
    last = state[:, -1:]
    for action in torch.rand(20, 1, 40, 6) * 2 - 1:
        state = world.step(task, state, action, u).state
        last = alone.step(task, last, action[:, -1:], u).state
    torch.testing.assert_close(state[:, -1:], last, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: HalfCheetahDirection(horizon=0), "horizon is 0: give 1 or more"),
        (lambda: AntDirection(full_torque=0.0), "full_torque 0.0, control_cost 0.5: give more than 0"),
        (
            lambda: HalfCheetahVelocity(speeds=(2.0, 1.0)),
            r"speeds is \(2.0, 1.0\): give two numbers, the smaller first",
        ),
    ],
)
def test_impossible_settings_of_a_world_are_refused(make: Any, says: str) -> None:
    with pytest.raises(InputError, match=says):
        make()


SMALL = "--config cheetah_direction-maml_rl.yaml --data.world.horizon 12 --data.meta_batch 4"
SMALL += (
    " --model.learner.envs 3 --model.learner.hidden [8] --data.epoch_batches 3 --data.val_tasks 2 --data.test_tasks 4"
)
SMALL += " --trainer.max_epochs 1 --trainer.accelerator cpu --trainer.enable_progress_bar false --trainer.log_every_n_steps 1"


@pytest.mark.usefixtures("recwarn")
@pytest.mark.slow
def test_maml_trains_on_the_cheetah_from_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["lightning-meta"])
    main(shlex.split(f"fit {SMALL}"))
    run = tmp_path / "runs/cheetah_direction-maml_rl/version_0"
    world = yaml.safe_load((run / "config.yaml").read_text())["data"]["init_args"]["world"]["init_args"]
    assert (world["horizon"], world["full_torque"]) == (12, 10), "noise of 1 is gentle"
    assert curve(run, "meta_train/steps") == {k: 4 * 3 * 12 * 2 * (k + 1) for k in range(3)}
    assert list(curve(run, "meta_val/updates/3")) == [2]
    main(shlex.split(f"test {SMALL} --ckpt_path last"))
    assert {"meta_test.json", "meta_test_clip.gif"} <= {path.name for path in run.iterdir()}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["runs"], "no log file of MuJoCo's"


@pytest.mark.usefixtures("recwarn")
@pytest.mark.parametrize("missing", ["mujoco", "gymnasium"])
def test_without_mujoco_one_message_says_what_to_install(
    missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(SystemExit) as ended:
        main(shlex.split(f"fit {SMALL}"))
    assert ended.value.code == 2
    said = capfd.readouterr().err
    assert said.count("lightning-meta: error:") == 1
    assert "pip install 'lightning-meta[rl]'" in said
    assert not list(tmp_path.iterdir())


def test_a_simulation_that_blows_up_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MuJoCo restarts by itself, and a speed over a negative time would be rewarded."""
    monkeypatch.chdir(tmp_path)  # where it writes down what it thinks of that
    world = HalfCheetahDirection(horizon=3)

    def reset(task: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        state, _ = HalfCheetahDirection.reset(world, task, u)
        state[..., 1:] *= 1e12
        return state, torch.zeros_like(state[..., 2:])

    monkeypatch.setattr(world, "reset", reset)
    with pytest.raises(InputError, match="a reward in HalfCheetahDirection is not a finite number"):
        mdps(world, 0).rollout(Anything(world))
