"""The laws of every learner where the classes of a task have different numbers of support examples."""

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from lightning_meta.core import Episode, Examples, FewShotLearner, flat_batch, prediction_loss
from lightning_meta.training.evaluation import by_presentation, shots
from support.episodes import unequal_episode
from support.packaged_learners import IMAGE, MLP, SPECS, audible, every_learner, kind, make, map_tensors

SHOTS = [[1, 4, 2, 3, 5], [3, 3, 3, 3, 3], [7, 1, 1, 1, 5]]  # of each task and class, 15 in all


def unequal(tasks: int = 3) -> Episode:
    return map_tensors(
        unequal_episode(SHOTS[:tasks], queries=3, shape=IMAGE), lambda t: t.double() if t.is_floating_point() else t
    )


def gradient(learner: FewShotLearner, episode: Episode) -> tuple[Tensor, dict[str, Tensor]]:
    learner.zero_grad(set_to_none=True)
    loss = learner.loss(flat_batch(episode.support) if learner.flat else episode).loss
    loss.backward()
    theta = {name: w for name, w in learner.named_parameters() if w.requires_grad}
    return loss.detach(), {n: torch.zeros_like(w) if w.grad is None else w.grad for n, w in theta.items()}


@every_learner
def test_one_finite_logit_a_query_and_way_and_a_finite_gradient(name: str):
    learner, episode = make(name, MLP).double().eval(), unequal()
    logits = learner.adapt(episode.support)(episode.query.x)
    assert logits.shape == (3, 15, 5)
    assert logits.isfinite().all()
    assert all(g.isfinite().all() for g in gradient(learner.train(), episode)[1].values())


@every_learner
def test_a_batch_of_tasks_is_its_tasks_one_by_one(name: str):
    """The tasks of the batch have their many examples in different classes."""
    learner, batch = make(name, MLP).double().eval(), unequal()
    tasks = [map_tensors(batch, lambda t, i=i: t[i : i + 1]) for i in range(3)]
    one_by_one = torch.cat([learner.adapt(task.support)(task.query.x) for task in tasks])
    assert_close(learner.adapt(batch.support)(batch.query.x), one_by_one, rtol=1e-10, atol=1e-10)
    start = {key: value.clone() for key, value in learner.train().state_dict().items()}
    losses, gradients = [], []
    for task in tasks:
        learner.load_state_dict(start)
        loss, each = gradient(learner, task)
        losses.append(loss)
        gradients.append(each)
    learner.load_state_dict(start)
    loss, together = gradient(learner, batch)
    mean = {key: torch.stack([each[key] for each in gradients]).mean(0) for key in together}
    assert_close(loss, torch.stack(losses).mean(), rtol=1e-10, atol=1e-10)
    assert_close(audible(together), audible(mean), rtol=1e-10, atol=1e-10)


@every_learner
def test_permuting_labels_permutes_logits_or_the_learner_says_why_not(name: str, request: pytest.FixtureRequest):
    if reason := kind(SPECS[name]).label_dependence:
        request.applymarker(pytest.mark.xfail(strict=True, reason=reason))
    learner, (support, query) = make(name, MLP).eval().double(), unequal()
    new_label = torch.tensor([3, 0, 4, 1, 2])
    logits = learner.adapt(support)(query.x)
    permuted = learner.adapt(Examples(support.x, new_label[support.y]))(query.x)
    assert_close(permuted[..., new_label], logits, rtol=1e-9, atol=1e-9)


def test_a_prototype_is_the_mean_of_its_own_class():
    learner, (support, query) = make("protonet", MLP).double().eval(), unequal(tasks=1)
    z, q = learner.backbone(support.x[0]), learner.backbone(query.x[0])
    centres = torch.stack([z[support.y[0] == label].mean(0) for label in range(5)])
    expected = -(q.unsqueeze(1) - centres).square().sum(-1)
    assert_close(learner.adapt(support)(query.x)[0], expected)


def test_the_support_loss_of_an_inner_step_is_the_mean_over_examples():
    """So a class of many examples weighs more, as in the loss of ordinary training."""
    learner, (support, query) = make("maml", MLP, inner_steps=1, inner_lr=0.1).double().train(), unequal(tasks=1)
    theta = learner.network.start()
    loss = torch.stack(
        [prediction_loss(learner.network(support.x[0, i : i + 1]), support.y[0, i : i + 1]) for i in range(15)]
    ).mean()
    stepped = {
        name: w - 0.1 * g
        for (name, w), g in zip(theta.items(), torch.autograd.grad(loss, [*theta.values()]), strict=True)
    }
    expected = torch.func.functional_call(learner.network, stepped, (query.x[0],))
    assert_close(learner.adapt(support)(query.x)[0], expected)


def test_matching_sums_the_attention_on_every_example_of_a_class():
    learner, (support, query) = make("matching", MLP, attention="euclidean").double().eval(), unequal(tasks=1)
    z, q = learner.backbone(support.x[0]), learner.backbone(query.x[0])
    attention = (-(q.unsqueeze(1) - z).square().sum(-1)).softmax(-1)
    expected = torch.stack([attention[:, support.y[0] == label].sum(-1) for label in range(5)], -1)
    assert_close(learner.adapt(support)(query.x)[0].exp(), expected)


def test_shots_and_presentations_count_what_there_is():
    y = torch.tensor([[0, 1, 1, 2, 1, 2]])
    assert shots(Episode(Examples(y.unsqueeze(-1), y), Examples(y.unsqueeze(-1), y))) == 2
    right = torch.nn.functional.one_hot(torch.tensor([[0, 0, 1, 2, 1, 0]]))  # at the first place of class 1 and ...
    assert [float(scores) for scores in by_presentation(right.float(), y)] == pytest.approx([2 / 3, 1 / 2, 1])
