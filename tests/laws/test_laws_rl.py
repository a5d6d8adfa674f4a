"""The laws that every agent obeys (law 8, processes, is in test_ddp_rl.py). An agent is tested by having a YAML."""

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from lightning_meta.core import MDPs, MetaRLLearner, Policy
from lightning_meta.rl import RecurrentDPG
from lightning_meta.training.checkpoint import load
from support.packaged_agents import KNOWN, MODELS, default_dtype, every_agent, improver, make, remembers, spec, world


def mdps(name: str, *seeds: int) -> MDPs:
    return MDPs(world(name), torch.tensor(seeds), torch.tensor(seeds))


def met(name: str, step: int, tasks: int = 8) -> MDPs:
    """A meta-batch of training: new tasks in each step or, for an agent that remembers them, those it knows."""
    places = 1000 * step + torch.arange(tasks)
    return MDPs(world(name), places % KNOWN if remembers(name) else places, places)


def trained(name: str, steps: int = 2) -> MetaRLLearner:
    """After so many meta-batches: what an agent remembers is not empty."""
    agent = make(name).train()
    outer_step = improver(agent)
    for step in range(steps):
        agent.learn(met(name, step), outer_step)
    return agent


def lives(policy: Policy, tasks: MDPs) -> tuple[Tensor, ...]:
    """Return the actions of a policy in an episode of two envs, and their probabilities."""
    trajectory, _ = tasks.rollout(policy, envs=2, purpose="asked")
    return trajectory.action, trajectory.log_prob, trajectory.reward


def state(agent: MetaRLLearner) -> dict[str, Tensor]:
    return {name: copy.deepcopy(value) for name, value in agent.state_dict().items()}


@every_agent
def test_law_1_returns_are_finite_one_per_point_of_the_curve(name: str) -> None:
    agent = trained(name).eval()
    found = agent.returns(mdps(name, 0, 1, 2))
    assert found.shape == (3, agent.updates + 1 if agent.updates else agent.episodes)
    assert found.isfinite().all()


@every_agent
def test_learning_returns_scalars_to_log(name: str) -> None:
    agent = make(name).train()
    found = agent.learn(met(name, 0), improver(agent))
    chances = not isinstance(agent, RecurrentDPG)  # whose policy has none, unless it is stochastic
    assert {"return", "steps"} | ({"entropy", "kl"} if chances else set()) <= set(found)
    assert all(value.isfinite() and value.ndim == 0 for value in found.values())


@every_agent
def test_law_2_adapting_to_b_changes_neither_theta_nor_phi_of_a(name: str) -> None:
    agent = trained(name).eval()
    a, b = mdps(name, 0, 1), mdps(name, 2, 3)
    theta, phi = state(agent), agent.adapt(a)
    first = lives(phi, a)
    agent.adapt(b)
    agent.returns(b)
    assert_close(lives(phi, a), first, rtol=0, atol=0)
    assert_close(state(agent), theta, rtol=0, atol=0)


@every_agent
def test_law_2_phi_is_a_value_that_can_be_saved(name: str, tmp_path: Path) -> None:
    agent, tasks = make(name).eval(), mdps(name, 0, 1)
    phi = agent.adapt(tasks)
    torch.save(phi, tmp_path / "phi.pt")
    again = torch.load(tmp_path / "phi.pt", weights_only=False)
    assert_close(lives(again, tasks), lives(phi, tasks), rtol=0, atol=0)


@every_agent
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-5), (torch.float64, 1e-10)], ids=str)
def test_law_3_a_batch_of_tasks_is_its_tasks_one_by_one(name: str, dtype: torch.dtype, bound: float) -> None:
    with default_dtype(dtype):
        agent = trained(name).to(dtype).eval()
        seeds = (0, 1, 2)
        batch, alone = mdps(name, *seeds), [mdps(name, seed) for seed in seeds]
        found = lives(agent.adapt(batch), batch)
        one_by_one = [lives(agent.adapt(one), one) for one in alone]
        assert_close(found, tuple(torch.cat(part) for part in zip(*one_by_one, strict=True)), rtol=bound, atol=bound)
        curves = torch.cat([agent.returns(one) for one in alone])
        assert_close(agent.returns(batch), curves, rtol=bound, atol=bound)
        assert found[1].dtype == dtype


@every_agent
def test_law_5_every_parameter_stays_finite_and_moves(name: str) -> None:
    before = dict(make(name).named_parameters())
    for parameter, w in trained(name, steps=3).named_parameters():
        assert w.isfinite().all(), parameter
        if w.requires_grad:
            assert not torch.equal(w, before[parameter]), f"{parameter} does not move"


@every_agent
def test_learning_is_a_function_of_the_tasks_and_their_noise_seeds(name: str) -> None:
    """An agent draws nothing from torch's own generator, so a resumed run goes on as the unbroken one."""
    first, second = trained(name), make(name).train()
    outer_step = improver(second)
    for step in range(2):
        torch.manual_seed(step + 1)
        second.learn(met(name, step), outer_step)
    assert_close(dict(second.named_parameters()), dict(first.named_parameters()), rtol=0, atol=0)


@pytest.mark.parametrize(
    "name", [name if name in ("l2rl", "pearl") else pytest.param(name, marks=pytest.mark.slow) for name in MODELS]
)
def test_law_6_it_learns_in_seconds(name: str) -> None:
    """The return in new tasks is higher than before: of 5 pulls of two arms more than the 2.5 of chance,
    of a walk to a goal more than at the start, each by a margin."""
    agent = make(name)

    def judged() -> float:
        agent.eval()
        curve = agent.returns(met(name, 10_000, 300))
        agent.train()
        return float((curve.mean(1) if agent.score == "total" else curve[:, -1]).mean())

    before, outer_step = judged(), improver(agent, 0.02)
    for step in range(600):
        agent.learn(met(name, step, 32), outer_step)
        if step % 30 == 29 and judged() > before + 0.2:
            return
    pytest.fail(f"{before:.2f} at first, {judged():.2f} after 600 meta-batches")


@every_agent
def test_law_7_a_checkpoint_gives_the_same_phi(name: str, tmp_path: Path) -> None:
    agent, tasks = trained(name), mdps(name, 0, 1)
    weights = {f"learner.{key}": value for key, value in agent.state_dict().items()}
    torch.save({"state_dict": weights, "hyper_parameters": {"learner": spec(name)}}, tmp_path / "theta.ckpt")
    again = load(tmp_path / "theta.ckpt")
    assert_close(lives(again.adapt(tasks), tasks), lives(agent.eval().adapt(tasks), tasks), rtol=0, atol=0)
    assert_close(again.returns(tasks), agent.returns(tasks), rtol=0, atol=0)


@every_agent
def test_law_7_bfloat16_trains(name: str) -> None:
    full, half = make(name).train(), make(name).train()
    if full.own_outer_step:
        pytest.skip("refused: see test_rl_runs.py")
    tasks = met(name, 0, 16)
    found = full.learn(tasks, improver(full, 1e-3))
    with torch.autocast("cpu", torch.bfloat16):
        rough = half.learn(tasks, improver(half, 1e-3))
    assert float(rough["return"]) == pytest.approx(float(found["return"]), abs=0.5)
    assert all(value.isfinite().all() for value in rough.values())
    ends, start = [torch.cat([w.detach().flatten() for w in each.parameters()]) for each in (full, half)], make(name)
    begun = torch.cat([w.detach().flatten() for w in start.parameters()])
    assert torch.cosine_similarity(ends[0] - begun, ends[1] - begun, dim=0) > 0.3
