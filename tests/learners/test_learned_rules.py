"""Meta-LSTM and the learned optimiser: cells by hand, rules they contain, and meta-gradients with what they read frozen."""

import math
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from lightning_meta.core import Episode, Examples, InputError, prediction_loss
from lightning_meta.learners import LearnedOptimizer, MetaLSTM
from lightning_meta.learners.meta_lstm import MetaCell
from lightning_meta.nn.coordinatewise import CoordinateLSTM, feedback, flatten, preprocess, unflatten
from lightning_meta.nn.inner_loop import Task, Weights
from support.episodes import separable_episode

double = partial(torch.tensor, dtype=torch.double)


@pytest.fixture
def episode() -> Episode:
    support, query = separable_episode(tasks=2, ways=3, shots=2, queries=2, shape=(1, 3, 3))
    return Episode(Examples(support.x.double(), support.y), Examples(query.x.double(), query.y))


def backbone() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(9, 4), nn.Softplus())


def meta_lstm(**options: object) -> MetaLSTM:
    return MetaLSTM(backbone(), 3, features=4, inner_lr=0.3, hidden=5, **{"inner_steps": 3, **options}).double()


def learned_optimizer(**options: object) -> LearnedOptimizer:
    return LearnedOptimizer(backbone(), 3, features=4, hidden=5, **{"inner_steps": 3, **options}).double()


def silence(module: nn.Module) -> None:
    for w in module.parameters():
        nn.init.zeros_(w)


def gradient_descent(learner: MetaLSTM | LearnedOptimizer, support: Examples, task: int, rates: list[float]) -> Tensor:
    """The weights after plain steps on one task, as a vector."""
    weights = {name: w.detach() for name, w in learner.network.named_parameters()}
    for rate in rates:
        leaves = {name: w.clone().requires_grad_() for name, w in weights.items()}
        prediction = torch.func.functional_call(learner.network, leaves, (support.x[task],))
        gradient = torch.autograd.grad(prediction_loss(prediction, support.y[task]), list(leaves.values()))
        weights = {name: w - rate * g for (name, w), g in zip(weights.items(), gradient, strict=True)}
    return flatten(weights)


def test_preprocessing_by_hand():
    """Size and sign from e^-10 up, below it a line: continuous, and never infinite."""
    v = double([1.0, -1.0, math.e**3, -(math.e**-5), 0.25 * math.e**-10, 0.0])
    expected = [[0.0, 1.0], [0.0, -1.0], [0.3, 1.0], [-0.5, -1.0], [-1.0, 0.25], [-1.0, 0.0]]
    assert_close(preprocess(v).T, double(expected))


def test_the_coordinate_lstm_is_torchs_for_each_coordinate():
    ours, theirs = CoordinateLSTM(3, hidden=4, layers=2), nn.LSTM(3, 4, num_layers=2)
    order = [0, 1, 3, 2]  # torch's gates are i, f, g, o; ours i, f, o, g
    for layer, gates in enumerate(ours.gates):
        w = torch.cat([getattr(theirs, f"weight_{kind}_l{layer}") for kind in ("ih", "hh")], 1)
        b = getattr(theirs, f"bias_ih_l{layer}") + getattr(theirs, f"bias_hh_l{layer}")
        gates.weight.data = torch.cat([w.chunk(4)[i] for i in order])
        gates.bias.data = torch.cat([b.chunk(4)[i] for i in order])
    x = torch.randn(6, 7, 3)  # time, coordinates, inputs
    expected, _ = theirs(x)
    memory = ours.start(torch.empty(7))
    for t in range(6):
        h, memory = ours(x[t].T, memory)
        assert_close(h.T, expected[t])


def test_one_step_of_the_meta_cell_by_hand():
    """One weight, an LSTM of one unit: two steps, every number written out."""
    cell = MetaCell(1, 0.1, 0.9).double()
    w = torch.linspace(-0.6, 0.6, 20, dtype=torch.double).view(4, 5)  # gates i, f, o, g of [gradient 2, loss 2, h]
    cell.lstm.gates[0].weight.data, cell.lstm.gates[0].bias.data = w, double([0.1, 0.2, 0.3, 0.4])
    for gate, weight, bias in ((cell.input_gate, [0.5, -0.3, 0.7], -1.0), (cell.forget_gate, [0.2, 0.4, -0.6], 2.0)):
        gate.weight.data, gate.bias.data = double([weight]), double([bias])

    def sigmoid(z: float) -> float:
        return 1 / (1 + math.exp(-z))

    def hand(theta: float, gradient: float, loss: float, h: float, c: float, i: float, f: float) -> tuple[float, ...]:
        read = [math.log(abs(gradient)) / 10, math.copysign(1, gradient), math.log(loss) / 10, 1.0, h]
        z = [sum(a * b for a, b in zip(row, read, strict=True)) for row in w.tolist()]
        c = sigmoid(z[1] + 0.2) * c + sigmoid(z[0] + 0.1) * math.tanh(z[3] + 0.4)
        h = sigmoid(z[2] + 0.3) * math.tanh(c)
        i = sigmoid(0.5 * h - 0.3 * theta + 0.7 * i - 1)
        f = sigmoid(0.2 * h + 0.4 * theta - 0.6 * f + 2)
        return f * theta - i * gradient, h, c, i, f

    theta = double([0.8])
    state, expected = cell.start(theta), (0.8, 0.0, 0.0, 0.0, 0.0)
    for gradient, loss in ((-0.4, 1.5), (0.02, 0.7)):
        theta, state = cell(theta, double([gradient]), double(loss), state)
        expected = hand(expected[0], gradient, loss, *expected[1:])
        assert theta.item() == pytest.approx(expected[0], rel=1e-12)
        assert (state.input_gate.item(), state.forget_gate.item()) == pytest.approx(expected[3:], rel=1e-12)


@pytest.mark.parametrize("vectorize", ["vmap", "loop"])
def test_meta_lstm_with_gates_at_their_biases_is_gradient_descent_with_decay(episode, vectorize):
    learner = meta_lstm(vectorize=vectorize, forget_gate=1 - 1e-12)
    for gate in (learner.cell.input_gate, learner.cell.forget_gate):
        nn.init.zeros_(gate.weight)
    phi = learner.adapt(episode.support)
    for task in range(2):
        weights = flatten({name: w[task] for name, w in phi.weights.items()})
        assert_close(weights, gradient_descent(learner, episode.support, task, [0.3] * 3))
    assert learner.diagnostics() == pytest.approx({"input_gate": 0.3, "forget_gate": 1.0})
    nn.init.zeros_(learner.cell.forget_gate.bias)  # f = 1/2, and no step: the weights halve
    nn.init.constant_(learner.cell.input_gate.bias, -1e9)
    halved = learner.adapt(episode.support).weights
    assert_close(halved["head.weight"][1], learner.network.head.weight / 8)


def test_a_crafted_learned_rule_is_sign_descent(episode):
    """A unit whose cell holds the sign that it reads makes every weight step by a fixed amount."""
    learner = learned_optimizer(layers=1, scale=0.1, vectorize="loop")
    silence(learner.rule)
    (gates,) = learner.rule.lstm.gates
    gates.bias.data[:15] = torch.tensor([60.0, -60.0, 60.0]).repeat_interleave(5).double()  # i, o open, f shut
    gates.weight.data[15, 1] = 60.0  # the first unit's new content is tanh(60 sign)
    learner.rule.output.weight.data[0, 0] = -1.0
    phi = learner.adapt_steps(episode.support, 1)
    step = 0.1 * math.tanh(1)
    for name, w in learner.network.named_parameters():
        assert_close((phi.weights[name] - w).abs(), torch.full_like(phi.weights[name], step))
    for task in range(2):
        before, after = flatten(dict(learner.network.named_parameters())), gradient_descent
        plain = after(learner, episode.support, task, [1.0]) - before
        moved = flatten({name: w[task] for name, w in phi.weights.items()}) - before
        assert_close(moved, step * plain.sign())


def test_the_rule_alone_does_what_it_does_inside_the_learner(episode):
    """Called by hand on a tensor of any shape, here both tasks at once, with its own memory."""
    learner = learned_optimizer()
    theta = dict(learner.network.named_parameters())
    weights = flatten(theta).detach().expand(2, -1)
    memory = learner.rule.start(weights)
    for step in range(1, 5):
        gradients = []
        for task in range(2):
            one = Task(*(part[task] for part in episode.support), 3)
            at = unflatten(weights[task], theta)
            gradients.append(feedback(lambda w, one=one: learner.network.loss(w, one), at, first_order=True)[0])
        update, memory = learner.rule(torch.stack(gradients), memory)
        weights = weights + update
        phi = learner.adapt_steps(episode.support, step).weights
        for task in range(2):
            assert_close(weights[task], flatten({name: w[task] for name, w in phi.items()}))


def test_the_loss_of_the_learned_optimiser_is_the_sum_of_query_losses_on_the_way(episode):
    learner = learned_optimizer()
    losses = [
        prediction_loss(learner.adapt_steps(episode.support, t)(episode.query.x), episode.query.y) for t in (1, 2, 3)
    ]
    outcome = learner.loss(episode)
    assert_close(outcome.loss, sum(losses))
    assert_close(outcome.prediction, learner.adapt(episode.support)(episode.query.x))


Tape = list[tuple[Tensor, Tensor]]  # gradient and loss of every inner step


def path(learner: MetaLSTM | LearnedOptimizer, task: Task, tape: Tape | None) -> tuple[list[Weights], Tape]:
    """phi after every inner step on one task, and what the rule has read, or was given to read by `tape`."""
    start, read, places = dict(learner.network.named_parameters()), [], []
    rule = learner.cell if isinstance(learner, MetaLSTM) else learner.rule
    at, state = flatten(start), rule.start(flatten(start))
    for step in range(learner.inner_steps):
        here = unflatten(at, start)
        gradient, loss = tape[step] if tape else feedback(lambda w: learner.network.loss(w, task), here, True)
        if isinstance(learner, MetaLSTM):
            at, state = learner.cell(at, gradient, loss, state)
        else:
            update, state = learner.rule(gradient, state)
            at = at + update
        read.append((gradient, loss))
        places.append(unflatten(at, start))
    return places if isinstance(learner, LearnedOptimizer) else places[-1:], read


def frozen_loss(learner: MetaLSTM | LearnedOptimizer, episode: Episode, tapes: list[Tape]) -> Tensor:
    """The meta-objective where gradients and losses are those of the tapes, whatever theta is."""
    losses = []
    for x, y, query_x, query_y, tape in zip(*episode.support, *episode.query, tapes, strict=True):
        places, _ = path(learner, Task(x, y, 3), tape)
        losses += [prediction_loss(learner.network.predict(weights, query_x), query_y) for weights in places]
    return torch.stack(losses).sum() / len(tapes)


@pytest.mark.parametrize("kind", ["Meta-LSTM", "Meta-LSTM, whole gradient", "learned optimiser", "its start too"])
@pytest.mark.parametrize("vectorize", ["vmap", "loop"])
def test_meta_gradient_is_that_of_finite_differences(episode, kind, vectorize):
    """The rule's inputs are recorded and played back while theta moves: it is a constant, as the papers assume."""
    whole = "whole" in kind
    learner = (
        meta_lstm(vectorize=vectorize, first_order=not whole)
        if "LSTM" in kind
        else learned_optimizer(vectorize=vectorize, learn_start="start" in kind)
    )
    theta = {name: w for name, w in learner.named_parameters() if w.requires_grad}
    for w in theta.values():
        w.data += 0.2 * torch.randn_like(w)  # gates far from where they start, so that all of theta counts
    tapes = [path(learner, Task(x, y, 3), None)[1] for x, y in zip(*episode.support, strict=True)]
    assert_close(frozen_loss(learner, episode, tapes), learner.loss(episode).loss)

    def loss() -> float:
        with torch.no_grad():
            return float(learner.loss(episode).loss if whole else frozen_loss(learner, episode, tapes))

    gradient = torch.autograd.grad(learner.loss(episode).loss, list(theta.values()))
    for (name, w), g in zip(theta.items(), gradient, strict=True):
        direction, start, ends = torch.randn_like(w), w.detach().clone(), []
        for sign in (+1, -1):
            w.data = start + sign * 1e-5 * direction
            ends.append(loss())
        w.data = start
        slope = (ends[0] - ends[1]) / 2e-5
        assert abs(slope) > 1e-7, name
        assert float((g * direction).sum()) == pytest.approx(slope, rel=1e-5, abs=1e-9), name


@pytest.mark.parametrize("learn_start", [True, False])
def test_a_start_that_is_not_learned_stays_as_it_was_drawn(episode, learn_start):
    learner = learned_optimizer(learn_start=learn_start)
    learner.loss(episode).loss.backward()
    assert all((w.grad is not None) == learn_start for w in learner.network.parameters())
    assert all(w.grad is not None for w in learner.rule.parameters())
    assert set(learner.adapt(episode.support).weights) == {name for name, _ in learner.network.named_parameters()}


def test_inner_batches_of_meta_lstm(episode):
    """The first step of batches of 3 sees the first 3 examples, whatever the others are."""
    learner = meta_lstm(inner_steps=1, inner_batch=3)
    changed = Examples(episode.support.x.clone(), episode.support.y)
    changed.x[:, 3:] += 1
    first, same = (learner.adapt(support).weights for support in (episode.support, changed))
    assert_close(first, same, rtol=0, atol=0)
    second = [learner.adapt_steps(support, 2).weights["head.bias"] for support in (episode.support, changed)]
    assert (second[0] - second[1]).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("wrong", "legal"),
    [
        ({"inner_lr": 1.0}, "between 0 and 1"),
        ({"forget_gate": 0.0}, "between 0 and 1"),
        ({"inner_batch": -1}, "whole support set"),
        ({"hidden": 0}, "1 or more"),
    ],
)
@pytest.mark.usefixtures("no_type_checker")
def test_meta_lstm_refuses_wrong_options_with_the_legal_ones(wrong, legal):
    with pytest.raises(InputError, match=legal):
        MetaLSTM(backbone(), 3, features=4, **wrong)


@pytest.mark.parametrize(
    ("wrong", "legal"),
    [({"inner_steps": 0}, "1 or more"), ({"scale": 0.0}, "positive"), ({"layers": 0}, "1 or more")],
)
@pytest.mark.usefixtures("no_type_checker")
def test_the_learned_optimiser_refuses_wrong_options_with_the_legal_ones(wrong, legal):
    with pytest.raises(InputError, match=legal):
        LearnedOptimizer(backbone(), 3, features=4, **wrong)


@pytest.mark.parametrize("size", [0, 4, 6, 100])
def test_minibatches_go_round_the_support_set(size):
    task = Task(torch.arange(6.0)[:, None], torch.arange(6), 6)
    seen = [task.minibatch(size, step).y.tolist() for step in range(3)]
    assert seen == ([[0, 1, 2, 3], [4, 5, 0, 1], [2, 3, 4, 5]] if size == 4 else [list(range(6))] * 3)
