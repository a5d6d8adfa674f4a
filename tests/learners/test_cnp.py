"""Conditional Neural Processes: a mean that order cannot change, and a likelihood."""

import math

import torch
from torch import nn
from torch.testing import assert_close

from lightning_meta.core import Episode, Examples
from lightning_meta.learners import CNP
from lightning_meta.nn import MLP


def test_r_is_the_mean_over_examples_in_any_order():
    learner = CNP(nn.Identity(), outputs=1, width=6, features=2).double()
    x, y, query = (torch.randn(2, n, d).double() for n, d in ((5, 2), (5, 1), (3, 2)))
    r = torch.stack([learner.h(torch.cat([x[:, i], y[:, i]], -1)) for i in range(5)]).mean(0)
    assert_close(learner.condition(Examples(x, y)).r, r)
    one, two = (learner.adapt(Examples(x[:, order], y[:, order]))(query) for order in (range(5), [4, 2, 0, 1, 3]))
    assert_close(one, two)


def test_in_classification_each_class_has_a_mean_of_its_own():
    learner = CNP(nn.Identity(), outputs=2, width=6, features=2)
    x, y = torch.randn(1, 5, 2), torch.tensor([[0, 1, 1, 0, 1]])
    r = learner.condition(Examples(x, y)).r
    h = learner.h(torch.cat([x, nn.functional.one_hot(y, 2).float()], -1))[0]
    assert_close(r[0], torch.cat([h[y[0] == 0, :6].mean(0), h[y[0] == 1, 6:].mean(0)]))


def test_the_loss_of_a_regression_is_the_negative_log_likelihood_but_for_a_constant():
    learner = CNP(nn.Identity(), outputs=1, width=6, features=2)
    examples = Examples(torch.randn(2, 4, 2), torch.randn(2, 4, 1))
    outcome = learner.loss(Episode(examples, examples))
    mean, spread = learner.condition(examples).distribution(examples.x)
    density = torch.distributions.Normal(mean, spread).log_prob(examples.y).mean()
    assert_close(outcome.loss, -density - 0.5 * math.log(2 * math.pi))
    assert_close(outcome.prediction, mean)
    assert spread.min() > 0.1


def test_it_learns_lines_from_a_few_points():
    learner, query = CNP(MLP([1, 16]), outputs=1, width=32), torch.linspace(-1, 1, 9).reshape(1, 9, 1)
    optimizer = torch.optim.Adam(learner.parameters(), lr=0.003)

    def task_batch(tasks: int) -> Episode:
        slope, x = torch.randn(tasks, 1, 1), torch.rand(tasks, 5, 1) * 2 - 1
        asked = query.expand(tasks, -1, -1)
        return Episode(Examples(x, slope * x), Examples(asked, slope * asked))

    for _ in range(400):
        optimizer.zero_grad()
        learner.loss(task_batch(16)).loss.backward()
        optimizer.step()
    fresh = task_batch(200)
    error = (learner.adapt(fresh.support)(fresh.query.x) - fresh.query.y).square().mean()
    assert error < 0.1 * fresh.query.y.square().mean()
