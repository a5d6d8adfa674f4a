"""Sequence networks: what a query may see, and SNAIL's blocks."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.testing import assert_close

from lightning_meta.core import Episode, Examples, InputError
from lightning_meta.learners import SequenceReader
from lightning_meta.nn import GRU, LSTM, MLP, SNAIL, DeltaNet, Memoryless, Transformer
from lightning_meta.nn import delta as fast_weights
from lightning_meta.nn.delta import delta_rule
from lightning_meta.nn.sequence import SequenceNetwork
from lightning_meta.nn.snail import CausalAttention, TemporalConvolutions

NETWORKS = {
    "lstm": lambda: LSTM(8, layers=2),
    "gru": lambda: GRU(8, layers=2),
    "transformer": lambda: Transformer(8, layers=2, heads=2),
    "deltanet": lambda: DeltaNet(8, layers=2, heads=2),
    "snail": lambda: SNAIL(length=8, width=8, filters=4),
}
every_network = pytest.mark.parametrize("network", [pytest.param(make, id=name) for name, make in NETWORKS.items()])


def tokens(t: int) -> Tensor:
    return torch.randn(3, t, 8, dtype=torch.float64)


@every_network
def test_each_query_is_answered_as_if_it_alone_came_next(network):
    sequence: SequenceNetwork = network().double().eval()
    context, queries = sequence.read(tokens(5)), tokens(4)
    together = sequence.answer(context, queries)
    assert together.shape == (3, 4, sequence.out_features)
    one_by_one = [sequence.answer(context, queries[:, i : i + 1]) for i in range(4)]
    assert_close(together, torch.cat(one_by_one, dim=1))


@every_network
@pytest.mark.parametrize("position", range(5))
def test_an_answer_depends_on_every_token_read_and_on_the_query(network, position: int):
    sequence, read = network().double().eval(), tokens(5).requires_grad_()
    query = tokens(1).requires_grad_()
    grads = torch.autograd.grad(sequence.answer(sequence.read(read), query).square().sum(), (read, query))
    assert grads[0][:, position].abs().max() > 1e-9
    assert grads[1].abs().max() > 1e-9


@every_network
def test_a_sequence_read_token_by_token_or_in_two_parts_is_as_one_read_at_once(network):
    sequence, whole = network().double().eval(), tokens(7)
    memory, stepped = sequence.start(whole), []
    for token in whole.unbind(1):
        output, memory = sequence.step(token, memory)
        stepped.append(output)
    unrolled = sequence.unroll(whole)
    assert_close(torch.stack(stepped, 1), unrolled, rtol=0, atol=1e-5)
    first, then = sequence.read(whole[:, :3]), whole[:, 3:]
    assert_close(sequence(then, first)[0], unrolled[:, 3:])
    assert_close(sequence(then, first)[0], unrolled[:, 3:], msg="reading on wrote on the memory that came in")
    for part, remembered in zip(memory, sequence.read(whole), strict=True):
        assert_close(part, remembered)
    assert_close(sequence.answer(sequence.read(whole[:, :6]), whole[:, 6:]), unrolled[:, 6:])


@every_network
def test_in_bfloat16_it_says_the_same_but_for_rounding(network):
    torch.manual_seed(0)
    sequence, whole = network().eval(), torch.randn(3, 7, 8)
    exact = sequence.unroll(whole)
    memory = sequence.bfloat16().start(whole.bfloat16())
    for t in range(7):
        output, memory = sequence.step(whole[:, t].bfloat16(), memory)
        assert output.dtype == torch.bfloat16
        assert_close(output.float(), exact[:, t], atol=0.1, rtol=0)


@every_network
def test_an_output_sees_nothing_of_later_tokens_or_of_other_sequences(network):
    sequence, whole = network().double().eval(), tokens(6).requires_grad_()
    (seen,) = torch.autograd.grad(sequence.unroll(whole)[1, 3].square().sum(), whole)
    assert (seen[1, :4].abs().amax(-1) > 1e-9).all()
    seen[1, :4] = 0
    assert not seen.any()


def test_the_transformer_is_torchs_own():
    sequence, read, queries = Transformer(8, layers=2, heads=2).double(), tokens(5), tokens(2)
    sees = torch.tensor([[j <= i if j < 5 else j == i for j in range(7)] for i in range(7)])
    theirs = sequence.layers(torch.cat([read, queries], 1), mask=~sees)
    assert_close(sequence.unroll(read), theirs[:, :5])
    assert_close(sequence.answer(sequence.read(read), queries), theirs[:, 5:])


@pytest.mark.parametrize(
    ("network", "gates", "held"), [(GRU, 3, 1.0), (LSTM, 4, 1000.0)]
)  # an LSTM adds up to 1 a step
def test_recurrent_weights_start_orthogonal_and_the_gate_that_keeps_open(network, gates: int, held: float):
    torch.manual_seed(0)
    plain, begun = (next(iter(network(8, orthogonal=on, keep=5.0 * on).children())) for on in (False, True))
    for gate in begun.weight_hh_l0.split(8):
        assert_close(gate @ gate.mT, torch.eye(8))
    assert begun.bias_ih_l0.reshape(gates, 8).mean(1).round().tolist() == [0, 5, *[0] * (gates - 2)]
    assert plain.bias_ih_l0.abs().max() < 8**-0.5, "as torch has them"
    sequence, read = network(8, keep=50.0).double(), tokens(30)
    *output, state = sequence.start(read)
    kept = sequence(read, (*output, state + held))[1][-1]
    assert_close(kept, torch.full_like(kept, held), rtol=0.05, atol=0)


def test_a_memoryless_network_has_the_same_output_whatever_came_before():
    sequence, whole = Memoryless(8).double(), tokens(4)
    assert_close(sequence.unroll(whole), sequence.unroll(whole.flip(1)).flip(1))
    assert_close(sequence.step(whole[:, 3], sequence.read(whole))[0], sequence.unroll(whole)[:, 3])


def test_to_a_transformer_the_order_of_a_last_layer_alone_means_nothing():
    """Without positions one causal layer gives a query the same answer in any order of the context."""
    sequence, read, query = Transformer(8, layers=1, heads=2).double().eval(), tokens(5), tokens(1)
    assert_close(sequence.answer(sequence.read(read), query), sequence.answer(sequence.read(read.flip(1)), query))


def test_a_dense_block_is_the_papers_gated_causal_convolution():
    """Two dense blocks for T = 4: x_t beside tanh(W x) * sigmoid(W' x) of the steps t - dilation and t."""
    block, x = TemporalConvolutions(d=2, length=4, filters=3).double(), torch.randn(1, 4, 2).double()
    out, _ = block(x, block.start(x))
    assert out.shape == (1, 4, 2 + 2 * 3)
    grown = x[0]
    for dilation, convolution in zip((1, 2), block.convolutions, strict=True):
        steps = []
        for t in range(4):
            before = grown[t - dilation] if t >= dilation else torch.zeros_like(grown[0])
            gates = convolution.weight[:, :, 0] @ before + convolution.weight[:, :, 1] @ grown[t] + convolution.bias
            steps.append(gates[:3].tanh() * gates[3:].sigmoid())
        grown = torch.cat([grown, torch.stack(steps)], 1)
    assert_close(out[0], grown)


def test_causal_attention_by_hand():
    block, x = CausalAttention(d=2, keys=4, values=3).double(), torch.randn(1, 3, 2).double()
    out = block(x, block.start(x))[0][0]
    q, k, v = block.query(x)[0], block.key(x)[0], block.value(x)[0]
    for t in range(3):
        weight = (k[: t + 1] @ q[t] / 2).softmax(0)  # sqrt of 4 keys
        assert_close(out[t], torch.cat([x[0, t], weight @ v[: t + 1]]))


@pytest.mark.parametrize(("length", "layers"), [(2, 1), (6, 3), (26, 5), (101, 7)])
def test_snail_has_the_papers_sizes(length: int, layers: int):
    """Attention adds 32, 128, 256 values; each of two temporal convolutions, 128 filters a dense block."""
    network = SNAIL(length, width=69)
    assert network.out_features == 69 + 32 + 128 * layers + 128 + 128 * layers + 256
    assert [len(network.blocks[i].convolutions) for i in (1, 3)] == [layers, layers]


@every_network
def test_a_reader_is_fed_the_labels_of_the_support_set_and_not_the_querys(network):
    reader = SequenceReader(MLP([4, 6]), network(), outputs=3).eval()
    x, y = torch.randn(1, 6, 4), torch.tensor([[0, 1, 2, 2, 1, 0]])
    support, query = Examples(x, y), Examples(torch.randn(1, 2, 4), torch.tensor([[0, 1]]))
    swapped = Examples(x, torch.tensor([[1, 0, 2, 2, 0, 1]]))
    answer = reader.loss(Episode(support, query)).prediction
    other_query = Examples(query.x, torch.tensor([[2, 0]]))
    assert_close(reader.loss(Episode(support, other_query)).prediction, answer, rtol=0, atol=0)
    assert not torch.allclose(reader.loss(Episode(swapped, query)).prediction, answer)


def test_another_number_of_ways_is_refused():
    reader = SequenceReader(MLP([4, 6]), LSTM(8), outputs=3)
    with pytest.raises(InputError, match="exactly 3 classes; this task has 2"):
        reader.adapt(Examples(torch.randn(1, 2, 4), torch.tensor([[0, 1]])))


def test_snail_refuses_a_longer_sequence_than_its_convolutions_span():
    network = SNAIL(length=6, width=8, filters=4)
    with pytest.raises(InputError, match="6 steps, this one has 7"):
        network.answer(network.read(torch.randn(1, 6, 8)), torch.randn(1, 2, 8))


def test_the_delta_rule_is_a_gradient_step_on_each_value_and_forgets_what_a_key_held():
    torch.manual_seed(0)
    query, key, value = torch.randn(3, 2, 5, 4, dtype=torch.float64)
    rate, at = torch.rand(2, 5, 1, dtype=torch.float64), torch.randn(2, 4, 4, dtype=torch.float64)
    read, end = delta_rule(query, key, value, rate, at)
    for t in range(5):
        at = at.detach().requires_grad_()
        error = 0.5 * (key[:, t : t + 1] @ at - value[:, t : t + 1]).square().sum()
        at = at - rate[:, t : t + 1] * torch.autograd.grad(error, at)[0]
        assert_close(read[:, t], (query[:, t : t + 1] @ at).squeeze(1))
    assert_close(end, at)
    once = torch.eye(4, dtype=torch.float64)[:1]
    pair = torch.stack([torch.tensor([1.0, 2, 3, 4]), torch.tensor([5.0, 6, 7, 8])]).double()
    read, _ = delta_rule(
        once.expand(2, 4), once.expand(2, 4), pair, torch.ones(2, 1).double(), torch.zeros(4, 4).double()
    )
    assert_close(read, pair)  # the later value in place of the earlier, not their sum


def test_fast_weights_soon_learn_to_recall_what_belonged_to_a_key():
    """A key's value is told a step later, as rewards are. After as many steps a GRU errs by 0.7, and 1 is to know nothing."""
    torch.manual_seed(0)
    network = nn.ModuleList([nn.Linear(7, 16), DeltaNet(16, layers=1, heads=1), nn.Linear(16, 1)])
    optimizer, error = torch.optim.Adam(network.parameters(), 0.01), torch.tensor(0.0)
    for _ in range(200):
        key, value = torch.randint(6, (64, 20)), torch.randn(64, 6)
        right, told = value.gather(1, key), F.one_hot(key, 6)
        seen = torch.cat([told, F.pad(right[:, :-1], (1, 0)).unsqueeze(-1)], -1)
        met = (told.cumsum(1) > 1).gather(2, key.unsqueeze(-1)).squeeze(-1)
        answer = network[2](network[1].unroll(network[0](seen))).squeeze(-1)  # type: ignore[operator]  # of a ModuleList
        error = (answer - right)[met].square().mean()
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
    assert error < 0.1


def test_fast_weights_remember_a_long_sequence_in_one_size_and_as_if_read_in_one_piece(monkeypatch):
    torch.manual_seed(0)
    sequence, whole = DeltaNet(8, layers=2, heads=2).double(), tokens(100)
    sizes = [part.shape for part in sequence.read(whole)]
    assert sizes == [part.shape for part in sequence.start(whole)]
    pieces = sequence.unroll(whole)
    monkeypatch.setattr(fast_weights, "CHUNK", 1000)
    assert_close(sequence.unroll(whole), pieces)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: LSTM(0),
        lambda: GRU(8, layers=0),
        lambda: Memoryless(0),
        lambda: Transformer(8, heads=3),
        lambda: DeltaNet(8, heads=3),
        lambda: SNAIL(length=0),
    ],
)
def test_impossible_sizes_are_refused(wrong):
    with pytest.raises(InputError):
        wrong()
