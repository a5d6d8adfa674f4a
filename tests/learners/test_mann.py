"""MANN: its memory by hand, what it may know at each step, and the ceiling that tells a label leak."""

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from lightning_meta.core import Episode, Examples, InputError, prediction_loss
from lightning_meta.learners import MANN
from lightning_meta.nn.memory import LeastRecentlyUsedAccess, MemoryState


def presentations(tasks: int, ways: int, shots: int, seed: int) -> Examples:
    """Classes are fixed patterns in eight dimensions, shown `shots` times each in random order."""
    g = torch.Generator().manual_seed(seed)
    patterns = torch.randn(tasks, ways, 8, generator=g)
    y = torch.stack([torch.randperm(ways * shots, generator=g) % ways for _ in range(tasks)])
    return Examples(patterns[torch.arange(tasks).unsqueeze(1), y], y)


def times_seen(y: Tensor) -> Tensor:
    """[tasks, n]: how often the class of each example came before it."""
    return torch.stack([torch.tensor([(task[:i] == task[i]).sum() for i in range(len(task))]) for task in y])


def test_a_step_of_the_memory_by_hand():
    """Two heads, three rows of two columns: every term of the paper's sections 3.1 and 3.2, a number at a time."""
    torch.manual_seed(3)
    cell = LeastRecentlyUsedAccess(inputs=2, hidden=3, rows=3, columns=2, reads=2, decay=0.9).double()
    memory = torch.tensor([[1.0, 0.5], [0.2, -0.4], [-0.3, 0.8]]).double()
    read_weights = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]]).double()
    usage = torch.tensor([0.9, 0.1, 0.4]).double()
    h, c, read, x = (torch.randn(1, size).double() for size in (3, 3, 4, 2))
    output, after = cell(x, MemoryState(h, c, read, memory[None], read_weights[None], usage[None]))

    h, c = cell.controller(torch.cat([x, read], 1), (h, c))
    key, gate = cell.keys(h).tanh().view(2, 2), cell.gates(h).sigmoid()[0]
    write = torch.stack([gate[i] * read_weights[i] for i in range(2)])
    write[:, [1, 2]] += (1 - gate)[:, None]  # rows 1 and 2 have the least usage
    wiped = memory.clone()
    wiped[1] = 0  # and row 1 the very least
    written = wiped + torch.stack([sum(write[i, row] * key[i] for i in range(2)) for row in range(3)])
    cosine = torch.stack([torch.stack([torch.cosine_similarity(key[i], row, 0) for row in written]) for i in range(2)])
    weights = torch.stack([row.exp() / row.exp().sum() for row in cosine])
    assert_close(after.memory[0], written)
    assert_close(after.read_weights[0], weights)
    assert_close(after.usage[0], 0.9 * usage + weights.sum(0) + write.sum(0))
    assert_close(output[0], torch.cat([h[0], weights[0] @ written, weights[1] @ written]))


@pytest.mark.parametrize("rows", [0, 16])
def test_a_step_knows_the_labels_before_it_and_not_its_own(rows: int):
    learner = MANN(nn.Identity(), 3, hidden=8, rows=rows, columns=4, reads=2, features=8).eval()
    x, y = presentations(1, 3, 4, seed=0)
    other = y.clone()
    other[0, 6] = (y[0, 6] + 1) % 3
    one, two = (learner.predict_in_turn(Examples(x, labels)) for labels in (y, other))
    assert_close(one[:, :7], two[:, :7], rtol=0, atol=0)
    assert not torch.allclose(one[:, 7], two[:, 7])


@pytest.mark.parametrize("rows", [0, 16])
def test_a_query_is_one_more_step_of_the_sequence(rows: int):
    learner = MANN(nn.Identity(), 3, hidden=8, rows=rows, columns=4, reads=2, features=8).double().eval()
    x, y = presentations(2, 3, 4, seed=0)
    x = x.double()
    phi = learner.adapt(Examples(x[:, :11], y[:, :11]))
    assert_close(phi(x[:, 11:]), learner.predict_in_turn(Examples(x, y))[:, 11:])
    queries = torch.randn(2, 5, 8).double()
    assert_close(phi(queries)[:, 3:4], phi(queries[:, 3:4]))


def test_the_loss_is_the_mean_over_every_step_and_every_query():
    learner = MANN(nn.Identity(), 3, hidden=8, rows=16, columns=4, reads=2, features=8)
    support, query = presentations(2, 3, 2, seed=0), presentations(2, 3, 1, seed=0)
    outcome = learner.loss(Episode(support, query))
    steps = prediction_loss(learner.predict_in_turn(support), support.y)
    asked = prediction_loss(learner.adapt(support)(query.x), query.y)
    assert_close(outcome.loss, (6 * steps + 3 * asked) / 9)


@pytest.mark.slow
@pytest.mark.parametrize("rows", [0, 20])
def test_what_is_learned_stays_under_the_ceiling_of_a_first_presentation(rows: int):
    """Whoever does not see the label can only rule out the labels already used: with 2 classes (1/2 + 1) / 2 = 75 % at
    best, and 45.7 % with 5. Trained, it recognises what it saw before, and does not know what it did not."""
    learner = MANN(nn.Identity(), 2, hidden=40, rows=rows, columns=12, reads=2, features=8)
    optimizer = torch.optim.Adam(learner.parameters(), lr=0.01)
    for step in range(250):
        support, query = presentations(16, 2, 4, seed=step), presentations(16, 2, 1, seed=step)
        optimizer.zero_grad()
        learner.loss(Episode(support, query)).loss.backward()
        optimizer.step()
    fresh = presentations(300, 2, 4, seed=10_000)
    with torch.no_grad():
        right = learner.predict_in_turn(fresh).argmax(-1) == fresh.y
    first, fourth = (float(right[times_seen(fresh.y) == k].float().mean()) for k in (0, 3))
    assert first < 0.75 + 0.03
    assert fourth > 0.85


def test_more_examples_than_the_memory_has_rows_are_refused():
    learner = MANN(nn.Identity(), 3, rows=10, columns=4, features=8)
    with pytest.raises(InputError, match="12 examples, more than the 10 rows"):
        learner.adapt(presentations(1, 3, 4, seed=0))


@pytest.mark.parametrize("wrong", [{"hidden": 0}, {"rows": 3, "reads": 4}, {"rows": -1}, {"decay": 1.5}])
def test_impossible_sizes_are_refused(wrong: dict):
    with pytest.raises(InputError, match=r"rows .* decay"):
        MANN(nn.Identity(), 3, features=8, **wrong)
