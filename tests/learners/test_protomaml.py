"""ProtoMAML starts as ProtoNet, and its meta-gradient passes through that start."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.testing import assert_close

from lightning_meta.core import Episode, Examples, InputError
from lightning_meta.learners import ProtoMAML, ProtoNet
from support.episodes import separable_episode
from support.gradient_learners import EVERY_STATISTICS, smooth_backbone

EITHER_ORDER = pytest.mark.parametrize("first_order", [False, True])


def protomaml(**options: object) -> ProtoMAML:
    return ProtoMAML(smooth_backbone(), inner_lr=0.05, **options).double()  # type: ignore[arg-type]


def episode(ways: int = 3) -> Episode:
    """Two tasks; class 0 has one support example less than the others."""
    support, query = separable_episode(tasks=2, ways=ways, shots=3, queries=2, shape=(1, 6, 6))
    return Episode(Examples(support.x[:, 1:].double(), support.y[:, 1:]), Examples(query.x.double(), query.y))


@EITHER_ORDER
def test_before_the_first_step_it_is_protonet_but_for_a_constant_a_query(first_order):
    """Logits, loss and the gradient of theta: none of them knows the constant, but through the head."""
    learner = protomaml(inner_steps=0, batch_stats="running", first_order=first_order)
    protonet, (support, query) = ProtoNet(learner.network.backbone), episode()
    logits, theirs = (each.eval().adapt(support)(query.x) for each in (learner, protonet))
    assert_close(logits.log_softmax(-1), theirs.log_softmax(-1))
    assert_close((logits - theirs).std(-1), torch.zeros(2, 6).double())

    gradients = []
    for each in (protonet, learner):
        learner.zero_grad()
        each.train(each is learner).loss(episode()).loss.backward()  # ProtoNet by running statistics
        gradients.append([w.grad.clone() for w in learner.parameters()])
    assert_close(gradients[0], gradients[1])


def test_the_first_step_by_hand():
    """With the identity as backbone the head alone descends."""
    x, y = torch.tensor([[[0.0, 2.0], [2.0, 2.0], [3.0, -1.0]]]).double(), torch.tensor([[0, 0, 1]])
    phi = ProtoMAML(nn.Identity(), inner_lr=0.1, inner_steps=1).adapt(Examples(x, y))
    weight, bias = torch.tensor([[2.0, 4.0], [6.0, -2.0]]).double(), torch.tensor([-5.0, -10.0]).double()
    error = (F.linear(x[0], weight, bias).softmax(-1) - F.one_hot(y[0])) / 3  # of cross-entropy, by logits
    assert_close(phi.weights["head.weight"][0], weight - 0.1 * error.T @ x[0])
    assert_close(phi.weights["head.bias"][0], bias - 0.1 * error.sum(0))


@EVERY_STATISTICS
@pytest.mark.parametrize("vectorize", ["vmap", "loop"])
def test_meta_gradient_is_that_of_finite_differences(batch_stats, vectorize):
    learner, data = protomaml(inner_steps=2, batch_stats=batch_stats, vectorize=vectorize), episode()
    buffers = {name: buffer.clone() for name, buffer in learner.named_buffers()}
    learner.loss(data).loss.backward()
    for name, w in learner.named_parameters():
        direction, start, ends = torch.randn_like(w), w.detach().clone(), []
        for step in (1e-5, -1e-5):
            w.data = start + step * direction
            learner.load_state_dict(buffers, strict=False)  # the loss moves running statistics
            ends.append(learner.loss(data).loss.item())
        w.data = start
        slope = (ends[0] - ends[1]) / 2e-5
        assert w.grad is not None
        assert float((w.grad * direction).sum()) == pytest.approx(slope, rel=1e-5, abs=1e-7), name


@EITHER_ORDER
def test_permuting_labels_permutes_logits_exactly(first_order):
    learner, (support, query) = protomaml(inner_steps=3, first_order=first_order), episode()
    new_label = torch.tensor([2, 0, 1])
    logits = learner.adapt(support)(query.x)
    permuted = learner.adapt(Examples(support.x, new_label[support.y]))(query.x)
    assert_close(permuted[..., new_label], logits, rtol=0, atol=1e-12)


def test_one_learner_serves_any_ways():
    learner = protomaml(inner_steps=2)
    for ways in (2, 3, 7):
        support, query = episode(ways)
        assert learner.adapt(support)(query.x).shape == (2, 2 * ways, ways)
    assert {name.partition(".")[0] for name in learner.network.state_dict()} == {"backbone"}


def test_body_and_head_both_descend():
    learner, (support, _) = protomaml(inner_steps=1), episode()
    before, after = (learner.adapt_steps(support, steps).weights for steps in (0, 1))
    moved: dict[str, Tensor] = {name: (after[name] - w).abs().max() for name, w in before.items()}
    assert set(moved) == {f"backbone.{n}" for n in ("0.weight", "0.bias", "1.weight", "1.bias")} | {
        "head.weight",
        "head.bias",
    }
    assert all(m > 1e-6 for name, m in moved.items() if name != "backbone.0.bias")  # which batch norm cancels


@pytest.mark.parametrize(
    ("y", "said"),
    [(torch.rand(1, 2, 12), "for regression use MAML"), (torch.tensor([[0, 2]]), "a class of 0..2 has no support")],
)
def test_what_has_no_prototypes_is_refused(y, said):
    with pytest.raises(InputError, match=said):
        ProtoMAML(nn.Identity()).adapt(Examples(torch.rand(1, 2, 12), y))


def test_a_rate_that_is_not_positive_is_refused():
    with pytest.raises(InputError, match="positive"):
        ProtoMAML(nn.Identity(), inner_lr=0.0)
