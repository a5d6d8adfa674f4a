"""Matching Networks against the paper's equations, computed number by number."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from lightning_meta.core import Examples, InputError
from lightning_meta.learners import MatchingNet
from lightning_meta.learners.matching import QueryContext, SupportContext
from support.episodes import separable_episode

SUPPORT = Examples(torch.tensor([[[1.0, 0.0], [0.0, 2.0], [3.0, 4.0]]]), torch.tensor([[0, 1, 1]]))
QUERY = torch.tensor([[[2.0, 0.0], [1.0, 1.0]]])


def probabilities(learner: MatchingNet) -> Tensor:
    return learner.adapt(SUPPORT)(QUERY).softmax(-1)


def test_equation_1_with_cosines():
    """Of the first query: cosines 1, 0, 3/5 to the three support examples, of which the last two are of class 1."""
    weight = [math.exp(10 * cosine) for cosine in (1.0, 0.0, 0.6)]
    expected = torch.tensor([weight[0], weight[1] + weight[2]]) / sum(weight)
    assert_close(probabilities(MatchingNet(nn.Identity(), temperature=10.0))[0, 0], expected)


def test_equation_1_with_squared_distances():
    """Of the second query: squared distances 1, 2 and 4 + 9."""
    weight = [math.exp(-square) for square in (1.0, 2.0, 13.0)]
    expected = torch.tensor([weight[0], weight[1] + weight[2]]) / sum(weight)
    assert_close(probabilities(MatchingNet(nn.Identity(), "euclidean"))[0, 1], expected)


def test_far_away_the_logits_stay_finite_and_the_nearest_wins():
    learner = MatchingNet(nn.Identity(), "euclidean")
    x = torch.tensor([[[1000.0, 0.0], [-1000.0, 0.0]]], requires_grad=True)
    logits = learner.condition(Examples(x, torch.tensor([[0, 1]])))(torch.tensor([[[900.0, 0.0]]]))
    assert logits.argmax() == 0
    assert torch.autograd.grad(logits.sum(), x)[0].isfinite().all()


def lstm_step(x: Tensor, h: Tensor, c: Tensor, w_x: Tensor, w_h: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """An LSTM step written out: gates in the order input, forget, cell, output."""
    i, f, g, o = (w_x @ x + w_h @ h + bias).chunk(4)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def test_g_is_the_sum_of_both_directions_and_the_embedding_itself():
    """g(x_i, S) = h_forward_i + h_backward_i + g'(x_i): the LSTM each way, step by step."""
    torch.manual_seed(1)
    g, z = SupportContext(2).double(), SUPPORT.x.double()
    weights = dict(g.lstm.named_parameters())

    def run(inputs: list[Tensor], suffix: str) -> list[Tensor]:
        w_x, w_h, b_x, b_h = (
            weights[f"{name}_l0{suffix}"] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        h, c, out = torch.zeros(2).double(), torch.zeros(2).double(), []
        for x in inputs:
            h, c = lstm_step(x, h, c, w_x, w_h, b_x + b_h)
            out.append(h)
        return out

    inputs = list(z[0])
    forward, backward = run(inputs, ""), run(inputs[::-1], "_reverse")[::-1]
    expected = torch.stack([a + b + x for a, b, x in zip(forward, backward, inputs, strict=True)])
    assert_close(g(z)[0], expected)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_f_is_the_papers_attention_lstm(steps: int):
    """h'_k, c_k = LSTM(f'(x), [h_{k-1}, r_{k-1}], c_{k-1});  h_k = h'_k + f'(x);  r_k reads g(S) by softmax(h_k . g),
    r_0 all of it alike."""
    torch.manual_seed(2)
    f = QueryContext(2, steps).double()
    x, g = QUERY[0, 1].double(), SUPPORT.x[0].double()
    # The cell takes [x, r] as input and h as state; the paper, x as input and [h, r] as state.
    w_x, w_r = f.cell.weight_ih.split(2, dim=1)
    w_state = torch.cat([f.cell.weight_hh, w_r], dim=1)
    h, c = torch.zeros(2).double(), torch.zeros(2).double()
    for _ in range(steps):
        weight = torch.stack([(h @ row).exp() for row in g])
        r = sum(a * row for a, row in zip(weight / weight.sum(), g, strict=True))
        out, c = lstm_step(x, torch.cat([h, r]), c, w_x, w_state, f.cell.bias_ih + f.cell.bias_hh)
        h = out + x
    assert_close(f(QUERY.double(), SUPPORT.x.double())[0, 1], h)


def test_one_step_of_f_has_seen_the_support_set():
    f = QueryContext(2, 1)
    assert not torch.allclose(f(QUERY, SUPPORT.x), f(QUERY, SUPPORT.x + 1))


def test_full_context_embeddings_see_the_rest_of_the_support_set():
    episode = separable_episode(1, 3, 2, 2, shape=(4,))
    other = episode.support.x.clone()
    other[:, 0] += 1.0
    context, plain = (MatchingNet(nn.Identity(), context_steps=k, features=4).eval() for k in (2, 0))
    for learner, sees in ((context, True), (plain, False)):
        one, two = (learner.adapt(Examples(x, episode.support.y)).head.support for x in (episode.support.x, other))
        assert torch.equal(one[:, 1:], two[:, 1:]) != sees


def test_each_query_is_answered_alone():
    episode = separable_episode(2, 3, 2, 4, shape=(4,))
    phi = MatchingNet(nn.Identity(), context_steps=3, features=4).adapt(episode.support)
    together = phi(episode.query.x)
    assert_close(together[:, 5:6], phi(episode.query.x[:, 5:6]))


@pytest.mark.parametrize(
    ("wrong", "legal"),
    [
        ({"attention": "dot"}, "cosine or euclidean"),
        ({"context_steps": -1}, "K >= 1"),
        ({"context_steps": 1}, "features"),
    ],
)
@pytest.mark.usefixtures("no_type_checker")
def test_wrong_options_are_refused_with_the_legal_ones(wrong: dict, legal: str):
    with pytest.raises(InputError, match=legal):
        MatchingNet(nn.Identity(), **wrong)
