"""MAML++ by hand: the loss of every step and its annealing, and a rate for each step."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from lightning_meta.core import Episode, Examples, InputError, prediction_loss
from lightning_meta.learners import MAML, MAMLPlusPlus, MetaSGD
from lightning_meta.learners.mamlpp import importance
from support.episodes import separable_episode
from support.gradient_learners import EVERY_STATISTICS, maml, predict_support, smooth_backbone


@pytest.fixture
def episode() -> Episode:
    support, query = separable_episode(tasks=2, ways=3, shots=2, queries=2, shape=(1, 6, 6))
    return Episode(Examples(support.x.double(), support.y), Examples(query.x.double(), query.y))


@EVERY_STATISTICS
@pytest.mark.parametrize("vectorize", ["vmap", "loop"])
def test_the_multi_step_loss_is_the_weighted_sum_and_anneals_to_the_last_step(episode, batch_stats, vectorize):
    """With 3 steps and 2 meta-batches of annealing: 1/3 1/3 1/3, then 1/6 1/6 2/3, then 0 0 1."""
    learner = maml(MAMLPlusPlus, inner_steps=3, multi_step=2, batch_stats=batch_stats, vectorize=vectorize)
    with torch.no_grad():
        for rate in learner.descent.rates:
            rate += torch.tensor([0.0, 0.1, -0.1])
    for counts in ([1 / 3, 1 / 3, 1 / 3], [1 / 6, 1 / 6, 2 / 3], [0, 0, 1], [0, 0, 1]):
        phis = [learner.adapt_steps(episode.support, steps) for steps in (1, 2, 3)]
        predictions = [phi(episode.query.x) for phi in phis]  # before the loss moves running statistics
        losses = [prediction_loss(prediction, episode.query.y) for prediction in predictions]
        expected = torch.stack([count * loss for count, loss in zip(counts, losses, strict=True)]).sum()
        outcome, theta = learner.loss(episode), list(learner.parameters())
        assert_close(outcome.loss, expected)
        assert_close(outcome.prediction, predictions[-1])
        assert_close(torch.autograd.grad(outcome.loss, theta), torch.autograd.grad(expected, theta))


@pytest.mark.parametrize("annealing", [0.0, 0.3, 1.0])
def test_importance_is_one_in_all_and_ends_at_the_last_step(annealing):
    assert float(importance(5, annealing).sum()) == pytest.approx(1)
    assert importance(1, annealing).tolist() == [1]
    assert importance(5, 1.0).tolist() == [0, 0, 0, 0, 1]


def test_training_meta_batches_alone_are_counted_and_a_resumed_learner_goes_on_from_there(episode):
    learner, resumed = (maml(MAMLPlusPlus, inner_steps=3, multi_step=4, learn_inner_lr="no") for _ in range(2))
    learner.eval().loss(episode)
    assert learner.meta_batches == 0
    learner.train()
    first, second = learner.loss(episode).loss, learner.loss(episode).loss
    assert abs(first - second) > 1e-4  # the same weights and episode, other importances
    resumed.load_state_dict(learner.state_dict())
    assert_close(resumed.loss(episode).loss, learner.loss(episode).loss, rtol=0, atol=0)
    assert resumed.meta_batches == 3
    assert_close(learner.eval().loss(episode).loss, prediction_loss(predict_support(learner, episode), episode.query.y))


@pytest.mark.parametrize("batch_stats", ["support", "transductive"])
@pytest.mark.parametrize("kind", [MAML, MetaSGD, MAMLPlusPlus])
def test_recomputed_steps_give_the_same_meta_gradient(episode, batch_stats, kind):
    gradients = []
    for recompute in (False, True):
        torch.manual_seed(0)
        noisy = nn.Sequential(smooth_backbone(), nn.Dropout(0.3))  # the noise is recomputed too
        options = {"backbone": noisy, "inner_steps": 3, "batch_stats": batch_stats, "recompute": recompute}
        learner = maml(kind, vectorize="loop", **options)
        torch.manual_seed(0)
        outcome = learner.loss(episode)
        outcome.loss.backward()
        gradients.append({name: w.grad for name, w in learner.named_parameters()})
        learner.eval().adapt(episode.support)  # where there is nothing to differentiate
    assert_close(gradients[1], gradients[0])
    assert all(g is not None for g in gradients[1].values())


def test_steps_beyond_the_trained_ones_go_on_with_the_last_rates(episode):
    learner = maml(MAMLPlusPlus, inner_steps=2)
    with torch.no_grad():
        for rate in learner.descent.rates:
            rate.copy_(torch.tensor([0.2, 0.05]))
    two, four = (learner.adapt_steps(episode.support, steps).weights for steps in (2, 4))
    plain = maml(inner_steps=2, inner_lr=0.05)  # two steps more from there
    for task in range(2):
        plain.network.load_state_dict({name: w[task] for name, w in two.items()}, strict=False)
        one = Examples(*(part[task : task + 1] for part in episode.support))
        expected = {name: w[task : task + 1] for name, w in four.items()}
        assert_close(plain.adapt(one).weights, expected)


@pytest.mark.parametrize(
    ("wrong", "legal"),
    [
        ({"learn_inner_lr": "yes"}, "no, layer, step or parameter"),
        ({"multi_step": -1}, "number of meta-batches"),
        ({"multi_step": 5, "inner_steps": 0}, "0 inner_steps"),
        ({"recompute": True, "vectorize": "vmap"}, "auto or loop"),
    ],
)
@pytest.mark.usefixtures("no_type_checker")
def test_wrong_options_are_refused_with_the_legal_ones(wrong, legal):
    with pytest.raises(InputError, match=legal):
        MAMLPlusPlus(**{"backbone": nn.Identity(), "outputs": 3, "features": 12, **wrong})
