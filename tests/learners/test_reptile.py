"""Reptile against torch's own optimisers, and its meta-gradient, theta - phi."""

import copy

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from lightning_meta.core import Episode, InputError, prediction_loss
from lightning_meta.learners import Reptile
from lightning_meta.nn import MLP, Conv4
from support.episodes import separable_episode

EPISODE = separable_episode(tasks=3, ways=3, shots=2, queries=2, shape=(1, 6, 6))


def reptile(**options: object) -> Reptile:
    return Reptile(MLP([36, 8]), 3, inner_steps=4, test_steps=7, inner_lr=0.02, **options)


def optimised(network: nn.Module, task: int, rule: str, steps: int, batch: int = 6) -> dict[str, torch.Tensor]:
    """The network's weights after ordinary training on the task's support set, `batch` examples a step, round and round."""
    network = copy.deepcopy(network)
    adam, sgd = torch.optim.Adam(network.parameters(), lr=0.02, betas=(0.0, 0.999)), torch.optim.SGD
    optimizer = adam if rule == "adam" else sgd(network.parameters(), lr=0.02)
    for step in range(steps):
        optimizer.zero_grad()
        rows = [(step * batch + i) % 6 for i in range(batch)]
        prediction_loss(network(EPISODE.support.x[task, rows]), EPISODE.support.y[task, rows]).backward()
        optimizer.step()
    return {name: w.detach() for name, w in network.named_parameters()}


@pytest.mark.parametrize("rule", ["adam", "sgd"])
@pytest.mark.parametrize("vectorize", ["vmap", "loop"])
@pytest.mark.parametrize(("training", "steps"), [(True, 4), (False, 7)])
def test_phi_is_what_the_ordinary_optimiser_gives_for_each_task(rule, vectorize, training, steps):
    learner = reptile(inner_rule=rule, vectorize=vectorize).train(training)
    phi = learner.adapt(EPISODE.support)
    for task in range(3):
        assert_close({n: w[task] for n, w in phi.weights.items()}, optimised(learner.network, task, rule, steps))


@pytest.mark.parametrize("batch", [4, 6, 100])
def test_inner_batches_go_round_the_support_set(batch):
    learner = reptile(inner_batch=batch)
    phi = learner.adapt(EPISODE.support)
    expected = optimised(learner.network, 1, "adam", 4, min(batch, 6))
    assert_close({n: w[1] for n, w in phi.weights.items()}, expected)


def test_the_meta_gradient_is_theta_minus_phi_averaged_over_tasks():
    learner = reptile()
    phi = learner.adapt(EPISODE.support)
    learner.loss(EPISODE).loss.backward()
    for name, w in learner.network.named_parameters():
        assert_close(w.grad, w.detach() - phi.weights[name].mean(0))


def test_an_outer_sgd_of_rate_epsilon_is_the_papers_update():
    learner = reptile()
    before = copy.deepcopy(dict(learner.network.named_parameters()))
    phi = learner.adapt(EPISODE.support)
    learner.loss(EPISODE).loss.backward()
    torch.optim.SGD(learner.parameters(), lr=0.3).step()
    after = {name: w + 0.3 * (phi.weights[name].mean(0) - w) for name, w in before.items()}
    assert_close(dict(learner.network.named_parameters()), after)


def test_no_derivative_goes_through_the_inner_loop_and_queries_do_not_count():
    learner = reptile().eval()
    assert not any(w.requires_grad for w in learner.adapt(EPISODE.support).weights.values())
    outcome = learner.loss(EPISODE)
    other = learner.loss(Episode(EPISODE.support, EPISODE.support))
    assert_close(outcome.loss, other.loss, rtol=0, atol=0)
    assert_close(outcome.prediction, learner.adapt(EPISODE.support)(EPISODE.query.x))


def test_running_statistics_see_the_support_set_in_training():
    learner = Reptile(Conv4(1, 16, 4), 3, inner_steps=1, batch_stats="running")
    norm, episode = learner.network.backbone.blocks[0][1], separable_episode(2, 3, 2, 2, (1, 16, 16))
    learner.eval().loss(episode)
    assert not norm.running_mean.any()
    learner.train().loss(episode)
    assert norm.running_mean.any()


@pytest.mark.parametrize(
    ("wrong", "legal"),
    [({"inner_lr": -1.0}, "positive"), ({"inner_rule": "rms"}, "adam or sgd"), ({"inner_batch": -1}, "whole support")],
)
@pytest.mark.usefixtures("no_type_checker")
def test_wrong_options_are_refused_with_the_legal_ones(wrong, legal):
    with pytest.raises(InputError, match=legal):
        Reptile(MLP([36, 8]), 3, **wrong)
