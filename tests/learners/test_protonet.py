"""Prototypical Networks on embeddings that are set by hand: with the identity as backbone, x is the embedding."""

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from lightning_meta.core import Episode, Examples, InputError
from lightning_meta.learners import ProtoNet
from lightning_meta.nn import Conv4
from lightning_meta.training.evaluation import observe
from support.episodes import separable_episode

# Two tasks with the same classes: three examples of class 0, one of class 1, in another order.
SUPPORT = Examples(
    torch.tensor([[[0.0, 3], [6, 0], [0, 0], [0, 4]], [[1.0, 1], [1, 0], [2, 1], [3, 1]]]),
    torch.tensor([[0, 0, 0, 1], [0, 1, 0, 0]]),
)
CENTRES = torch.tensor([[[2.0, 1], [0, 4]], [[2, 1], [1, 0]]])
QUERIES = torch.tensor([[[2.0, 1], [0, 5]], [[0, 0], [3, 0]]])


def cosine(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(-1) / (a.norm(dim=-1) * b.norm(dim=-1)).clamp_min(1e-12)


def test_a_prototype_is_the_mean_of_its_class_however_many_shots():
    assert_close(ProtoNet(nn.Identity()).adapt(SUPPORT).head.centres, CENTRES)


def test_euclidean_logits_are_negative_squared_distances():
    expected = [[[0.0, -13], [-20, -1]], [[-5, -1], [-2, -4]]]
    assert_close(ProtoNet(nn.Identity()).adapt(SUPPORT)(QUERIES), torch.tensor(expected))


def test_cosine_logits_are_similarities_times_the_temperature():
    logits = ProtoNet(nn.Identity(), distance="cosine", temperature=4.0).adapt(SUPPORT)(QUERIES)
    assert_close(logits, 4 * cosine(QUERIES.unsqueeze(2), CENTRES.unsqueeze(1)))
    assert logits[0, 0, 0] == pytest.approx(4)


@pytest.mark.parametrize("queries", [3, 300])
def test_distances_stay_exact_for_many_queries_far_from_the_origin(queries):
    """The square expanded into three terms would lose the digits that tell these classes apart."""
    centres, x = 1234.5 + torch.rand(1, 2, 2), 1234.5 + torch.rand(1, queries, 2)
    logits = ProtoNet(nn.Identity()).adapt(Examples(centres, torch.tensor([[0, 1]])))(x)
    assert_close(logits, -(x.unsqueeze(2) - centres.unsqueeze(1)).square().sum(-1))


@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
def test_a_query_on_its_prototype_has_a_finite_gradient(distance):
    x = CENTRES.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(ProtoNet(nn.Identity(), distance).adapt(SUPPORT)(x).logsumexp(-1).sum(), x)
    assert gradient.isfinite().all()


def test_in_evaluation_mode_a_query_does_not_see_the_others():
    learner, (support, query) = ProtoNet(Conv4(1, 16, 4)), separable_episode(2, 3, 2, 2, (1, 16, 16))
    learner.train().adapt(support)  # running statistics that are not the initial ones
    phi = learner.eval().adapt(support)
    changed = torch.cat([query.x[:, :1], torch.randn_like(query.x[:, 1:])], dim=1)
    assert torch.equal(phi(query.x)[:, 0], phi(changed)[:, 0])
    observe(learner, Episode(support, query))
    assert learner.transductive is False


def test_trained_on_five_ways_it_classifies_twenty():
    learner, (support, query) = ProtoNet(Conv4(1, 16, 4)).eval(), separable_episode(1, 20, 1, 1, (1, 16, 16))
    assert learner.adapt(support)(query.x).shape == (1, 20, 20)


@pytest.mark.usefixtures("no_type_checker")
def test_an_unknown_distance_is_refused():
    with pytest.raises(InputError, match="euclidean or cosine"):
        ProtoNet(nn.Identity(), distance="manhattan")


def test_regression_targets_are_refused_with_what_to_use():
    with pytest.raises(InputError, match="MAML or CNP"):
        ProtoNet(nn.Identity()).adapt(Examples(SUPPORT.x, SUPPORT.x))
