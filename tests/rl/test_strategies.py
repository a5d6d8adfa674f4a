"""Hand-designed strategies: indices, posteriors and plans by hand, and the laws that all obey."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from datamodules.worlds import Worlds
from lightning_meta.core import InputError, MDPs, Policy, TimeStep
from lightning_meta.envs import Bandits, IMaze, TabularMDPs, TwoArms
from lightning_meta.rl.strategies import bandits, tabular
from lightning_meta.rl.strategies.bandits import UCB1, Gittins, Thompson, WinStayLoseShift
from lightning_meta.rl.strategies.gittins import gittins_index, whittle_index
from lightning_meta.rl.strategies.planning import Experience, optimistic_iteration, value_iteration
from lightning_meta.rl.strategies.posteriors import sample_beta, sample_dirichlet, sample_gamma
from lightning_meta.rl.strategies.tabular import BEB, PSRL, UCRL2
from support.policies import mdps

BANDITS: dict[str, Callable[[MDPs], Policy]] = {
    "random": bandits.Random,
    "oracle": bandits.Oracle,
    "greedy": bandits.Greedy,
    "epsilon-greedy": lambda mdps: bandits.Greedy(mdps, 0.3),
    "win-stay-lose-shift": WinStayLoseShift,
    "UCB1": lambda mdps: UCB1(mdps, 0.3),
    "Thompson": Thompson,
    "optimistic Thompson": lambda mdps: Thompson(mdps, 4),
    "Gittins": lambda mdps: Gittins(mdps, 10, 0.9),
    "Whittle": lambda mdps: Gittins(mdps, 10),
}
TABULAR: dict[str, Callable[[MDPs], Policy]] = {
    "random": tabular.Random,
    "oracle": tabular.Oracle,
    "greedy": tabular.Greedy,
    "epsilon-greedy": lambda mdps: tabular.Greedy(mdps, 0.3),
    "PSRL": PSRL,
    "optimistic PSRL": lambda mdps: PSRL(mdps, 3),
    "BEB": BEB,
    "UCRL2": lambda mdps: UCRL2(mdps, 0.1),
}
ALL = [pytest.param(make, Bandits(4, 10), 1, id=f"bandits, {name}") for name, make in BANDITS.items()]
ALL += [pytest.param(make, TabularMDPs(4, 3, 5), 4, id=f"MDPs, {name}") for name, make in TABULAR.items()]
every_strategy = pytest.mark.parametrize(("make", "world", "episodes"), ALL)


class Fixed(Bandits):
    """Arms of the same odds in every task."""

    def __init__(self, *odds: float, horizon: int = 10):
        super().__init__(len(odds), horizon)
        self.odds = odds

    def task(self, seeds: Tensor) -> Tensor:
        return torch.tensor(self.odds).expand(len(seeds), -1)


def many(world, tasks: int) -> MDPs:
    return next(iter(Worlds(world, meta_batch=tasks, test_tasks=tasks).streams("test")[0]))


def earned(meeting: MDPs, policy: Policy, episodes: int = 1) -> Tensor:
    """All rewards of a trial, [tasks]."""
    return meeting.rollout(policy, episodes=episodes)[0].reward[:, 0].sum(1)


@pytest.mark.parametrize(
    ("gamma", "rows"),
    [
        (0.9, [[0.7029, 0.5001, 0.3796], [0.8001, 0.6346, 0.5163], [0.8452, 0.7072, 0.6010]]),
        (0.99, [[0.8699, 0.7005, 0.5671], [0.9102, 0.7844, 0.6726], [0.9285, 0.8268, 0.7308]]),
    ],
)
def test_gittins_indices_are_those_of_the_published_tables(gamma, rows):
    assert_close(gittins_index(4, gamma, ahead=500)[:3, :3], torch.tensor(rows), atol=1e-4, rtol=0)


def test_a_gittins_index_that_looks_one_pull_ahead_by_hand():
    """Beyond it an arm is as good as its mean, 2/3 or 1/3: x = (1 - d)/2 + d (2/3 + x)/2 for a discount d."""
    assert gittins_index(0, 0.9, ahead=0)[0, 0].item() == pytest.approx((0.5 - 0.15) / (1 - 0.45), abs=1e-5)
    assert whittle_index(3)[0, 0].item() == pytest.approx(0.5 + 0.25 / (2 * math.sqrt(0.125)))


def test_samples_have_the_moments_of_their_posterior():
    seeds = torch.arange(4000)
    for shape in (1.0, 1.5, 7.0, 300.0):
        drawn = sample_gamma(torch.full((4000, 5), shape), seeds, "gamma")
        assert drawn.mean().item() == pytest.approx(shape, rel=4 / math.sqrt(20000 * shape))
        assert drawn.var().item() == pytest.approx(shape, rel=0.1)
    a, b = torch.tensor([1.0, 3.0, 1.0]), torch.tensor([1.0, 2.0, 40.0])
    drawn = sample_beta(a.expand(4000, 3), b.expand(4000, 3), seeds, "beta")
    assert_close(drawn.mean(0), a / (a + b), atol=0.02, rtol=0)
    assert_close(drawn.var(0), a * b / (a + b).square() / (a + b + 1), atol=0.005, rtol=0)
    share = torch.linspace(0.1, 0.9, 9)
    assert_close(drawn[:, 0].quantile(share), share, atol=0.03, rtol=0)
    odds = sample_dirichlet(torch.tensor([1.0, 2.0, 7.0]).expand(4000, 3), seeds, "odds")
    assert_close(odds.sum(1), torch.ones(4000))
    assert_close(odds.mean(0), torch.tensor([0.1, 0.2, 0.7]), atol=0.01, rtol=0)
    assert torch.corrcoef(torch.stack([drawn[:-1, 0], drawn[1:, 0]]))[0, 1].abs() < 0.06, "independent"


def test_win_stay_lose_shift_earns_what_its_chain_of_arms_says():
    meeting, odds = many(Fixed(0.2, 0.5, 0.9, horizon=12), 4000), torch.tensor([0.2, 0.5, 0.9])
    shift = (1 - odds).unsqueeze(1) * (1 - torch.eye(3)) / 2 + odds.diag()
    at, total = torch.full((3,), 1 / 3), 0.0
    for _ in range(12):
        total, at = total + float(at @ odds), at @ shift
    found = earned(meeting, WinStayLoseShift(meeting))
    assert found.mean().item() == pytest.approx(total, abs=4 * float(found.std()) / 4000**0.5)


def test_index_strategies_pull_as_a_loop_over_their_formula_does():
    """Arms that always and never pay, so that nothing is random."""
    table = gittins_index(12, 0.9)
    rules: dict[str, tuple[Callable[[MDPs], Policy], Callable[[int, int, int], float]]] = {
        "greedy": (bandits.Greedy, lambda w, n, _: (w + 1) / (n + 2)),
        "UCB1": (
            lambda m: UCB1(m, 0.7),
            lambda w, n, t: (w + 1) / (n + 2) + 0.7 * math.sqrt(2 * math.log(max(t, 1)) / (n + 2)),
        ),
        "Gittins": (lambda m: Gittins(m, 12, 0.9), lambda w, n, _: float(table[w, n - w])),
    }
    pays = (0, 0, 1, 0)
    for name, (make, index) in rules.items():
        meeting = mdps(Fixed(*map(float, pays), horizon=12), 0, 1)
        found = meeting.rollout(make(meeting))[0].action[1, 0].tolist()
        wins, pulls, expected = [0] * 4, [0] * 4, []
        for t in range(12):
            merits = [index(w, n, t) for w, n in zip(wins, pulls, strict=True)]
            arm = merits.index(max(merits))
            wins[arm], pulls[arm] = wins[arm] + pays[arm], pulls[arm] + 1
            expected.append(arm)
        assert found == expected, name


def test_the_oracle_pulls_the_best_arm_and_random_any():
    meeting = many(Bandits(5, 10), 2000)
    trajectory, _ = meeting.rollout(bandits.Oracle(meeting))
    assert (trajectory.action[:, 0] == meeting.task.argmax(1, keepdim=True)).all()
    assert trajectory.reward[:, 0].sum(1).mean().item() == pytest.approx(10 * 5 / 6, abs=0.2), "E max of 5 numbers"
    trajectory, _ = meeting.rollout(bandits.Random(meeting))
    assert_close(trajectory.action.flatten().bincount() / 20000, torch.full((5,), 0.2), atol=0.02, rtol=0)


def test_epsilon_greedy_takes_any_arm_with_epsilon():
    meeting = mdps(Fixed(0.0, 1.0), 0)
    time_step = TimeStep(torch.zeros(1, 1, 0), torch.tensor([[[0.0, 1.0]]]), torch.ones(1, 1), torch.zeros(1, 1))
    distribution, _ = bandits.Greedy(meeting, 0.3).act(time_step)
    assert_close(distribution.probs, torch.tensor([[[0.15, 0.85]]]))


def test_thompson_pulls_an_arm_as_often_as_it_is_the_best():
    """After a win of one arm and a loss of the other, Beta(2, 1) is above Beta(1, 2) with probability 5/6; the draw that is
    the likeliest of many is near the mode, where the first arm is the better one."""
    meeting = many(Fixed(0.5, 0.5), 4000)
    nothing = torch.zeros(4000, 1)
    time_step = TimeStep(torch.zeros(4000, 1, 0), torch.zeros(4000, 1, 2), nothing, nothing)
    wins, losses = (torch.tensor(x).expand(4000, 1, 2) for x in ([1.0, 0.0], [0.0, 1.0]))
    for samples, low, high in ((1, 5 / 6 - 0.025, 5 / 6 + 0.025), (50, 0.99, 1.0)):
        distribution, _ = Thompson(meeting, samples, wins=wins, losses=losses).act(time_step)
        assert low <= distribution.probs[..., 0].mean().item() <= high


@pytest.mark.parametrize(
    ("name", "paper"),
    [("random", 5.0), ("Gittins", 6.6), ("greedy", 6.6), ("Thompson", 5.7), ("win-stay-lose-shift", 6.27)],
)
def test_bandits_earn_what_was_published(name, paper):
    """Duan et al. 2016, table 1, 5 arms and 10 pulls, 1000 tasks (the last, a prototype's of 20000)."""
    meeting = many(Bandits(5, 10), 3000)
    assert earned(meeting, BANDITS[name](meeting)).mean().item() == pytest.approx(paper, abs=0.2)


@pytest.mark.parametrize(
    ("make", "paper"),
    [
        (tabular.Random, 100.1),
        (lambda m: PSRL(m, 1, 0.0), 138.1),
        (lambda m: UCRL2(m, 0.05, prior_mean=0.0), 146.6),
        (lambda m: BEB(m, 3.0, 0.0), 150.2),
        (lambda m: tabular.Greedy(m, 0.0, 0.0), 134.8),
    ],
    ids=["random", "PSRL", "UCRL2", "BEB", "greedy"],
)
def test_tabular_earn_what_was_published(make, paper):
    """Duan et al. 2016, table 2, 10 episodes, 1000 tasks: two standard errors of theirs are 1.7, of ours 2.7."""
    meeting = many(TabularMDPs(), 400)
    assert earned(meeting, make(meeting), 10).mean().item() == pytest.approx(paper, abs=4.5)


def test_value_iteration_by_hand():
    """Two states; action 0 stays and pays 1, action 1 goes to the other state, 1, where staying pays 3, and going 0."""
    odds = torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [1.0, 0.0]]])
    means = torch.tensor([[1.0, 0.0], [3.0, 0.0]])
    plan = value_iteration(odds, means, 3)
    assert plan[2].tolist() == [[1, 0], [3, 0]]
    assert plan[1].tolist() == [[2, 3], [6, 1]]
    assert plan[0].tolist() == [[4, 6], [9, 3]]
    assert value_iteration(odds, means, 2, torch.ones(2, 2))[0].tolist() == [[3, 4], [7, 2]], (
        "a bonus for the step left"
    )
    assert_close(optimistic_iteration(odds, means, torch.zeros(2, 2), 3), plan)
    wished = optimistic_iteration(odds, means, torch.ones(2, 2), 2)[0]
    assert wished.tolist() == [[3, 3], [6, 2]], (
        "half of the odds go to state 1, which is worth 3, from state 0, worth 1"
    )
    assert optimistic_iteration(odds, means, torch.full((2, 2), 9.0), 2)[0].tolist() == [[4, 3], [6, 3]]


def test_experience_does_not_count_the_start_of_the_next_episode_as_a_transition():
    meeting = mdps(TabularMDPs(4, 3, 5), 0, 1)
    trajectory, policy = meeting.rollout(tabular.Random(meeting), envs=2, episodes=2)
    experience = policy.experience
    assert experience.visits.sum((2, 3)).tolist() == [[9.0] * 2] * 2, "the last step is not seen any more"
    assert experience.transitions.sum((2, 3, 4)).tolist() == [[8.0] * 2] * 2, "nor where the first episode ended"
    assert_close(experience.rewards.sum((2, 3)), trajectory.reward[..., :9].sum(-1))
    state, action = trajectory.time_steps.observation[1, 0, 3].argmax(), trajectory.action[1, 0, 3]
    assert experience.transitions[1, 0, state, action, trajectory.next_observation[1, 0, 3].argmax()] >= 1


def test_the_oracle_of_an_mdp_earns_the_value_of_its_plan():
    meeting = many(TabularMDPs(), 500)
    trajectory, policy = meeting.rollout(tabular.Oracle(meeting), envs=8)
    value = policy.plan[:, 0, 0, 0].amax(-1)
    off = trajectory.reward.sum(-1).mean(1) - value
    assert off.mean().item() == pytest.approx(0, abs=4 * float(off.std()) / 500**0.5)


@pytest.mark.parametrize("name", ["greedy", "PSRL", "BEB", "UCRL2"])
def test_with_enough_experience_a_strategy_plans_like_the_oracle(name):
    meeting = mdps(TabularMDPs(4, 3, 5), 0, 1, 2)
    odds, means = (x.unsqueeze(1) for x in meeting.task)
    often = 1e7
    experience = Experience(often * odds, torch.full_like(means, often), often * means, torch.zeros(3, 1, 4))
    plan = TABULAR[name](meeting).make_plan(experience, 0)
    assert_close(plan, value_iteration(odds, means, 5), atol=0.02, rtol=0)


def test_actions_that_were_never_tried_are_equally_good():
    meeting = mdps(TabularMDPs(4, 3, 5), 0)
    nothing = torch.zeros(1, 1)
    time_step = TimeStep(torch.eye(4)[:1].unsqueeze(1), torch.zeros(1, 1, 3), nothing, nothing)
    for name in ("greedy", "epsilon-greedy", "BEB", "UCRL2"):
        assert_close(TABULAR[name](meeting).act(time_step)[0].probs, torch.full((1, 1, 3), 1 / 3))


@every_strategy
def test_a_strategy_acts_the_same_in_any_batch_with_random_numbers_per_task(make, world, episodes):
    batch, alone = mdps(world, 3, 4, 5), mdps(world, 4)
    together, policy = batch.rollout(make(batch), envs=2, episodes=episodes)
    torch.manual_seed(1)  # nothing is drawn from torch's own generator
    again, _ = batch.rollout(make(batch), envs=2, episodes=episodes)
    one, _ = alone.rollout(make(alone), envs=2, episodes=episodes)
    assert (together.action[1:2] == one.action).all()
    assert_close(together.log_prob[1:2], one.log_prob)
    assert (again.action == together.action).all()
    assert policy is not None


@every_strategy
def test_phi_is_a_value(make, world, episodes, tmp_path: Path):
    """An observation changes the policy that follows, not the one that saw it; and a policy can be saved."""
    meeting = mdps(world, 3, 4)
    start = make(meeting)
    first, _ = meeting.rollout(start, episodes=episodes)
    torch.save(start, tmp_path / "phi.pt")
    second, _ = meeting.rollout(torch.load(tmp_path / "phi.pt", weights_only=False), episodes=episodes)
    assert (first.action == second.action).all()


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Thompson(mdps(IMaze(), 0)), "Thompson is a strategy for Bandits and TwoArms, not for IMaze"),
        (lambda: PSRL(mdps(Bandits(), 0)), "PSRL is a strategy for TabularMDPs, not for Bandits"),
        (lambda: Thompson(mdps(TwoArms(), 0), 0), "samples is 0: give 1 or more"),
        (lambda: bandits.Greedy(mdps(Bandits(), 0), 2.0), "epsilon is 2.0: give a number between 0 and 1"),
        (lambda: Gittins(mdps(Bandits(), 0), 10, 0.0), "pulls 10, gamma 0.0: give 1 or more, and above 0 up to 1"),
        (lambda: gittins_index(3, 1.0), "gamma is 1.0: give a number between 0 and 1"),
        (
            lambda: UCRL2(mdps(TabularMDPs(), 0), 1.0, delta=0.0),
            "scale 1.0, delta 0.0: give 0 or more, and between 0 and 1",
        ),
        (
            lambda: earned(m := mdps(Bandits(3, 9), 0), Gittins(m, 5)),
            "for 5 pulls, but the trial is longer: set its `pulls`",
        ),
    ],
)
def test_impossible_strategies_are_refused(make, says):
    with pytest.raises(InputError, match=says):
        make()
