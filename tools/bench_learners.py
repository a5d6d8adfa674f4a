"""Tasks trained per CPU second, ProtoNet and MAML, beside a plain hand-written loop over tasks.

    python tools/bench_learners.py [--quick] [--json]

One thread, forward and backward of the meta-objective on ready tensors. The peer is what one writes without a library: a
Python loop over tasks, `torch.func.functional_call`, `torch.autograd.grad`, torch's own batch norm. The limit counts the
same floating-point operations at the rate of this machine's best 1024 x 1024 float32 matrix product.
"""

import time
from collections.abc import Callable

from bench import Row, arguments, race, show  # sets OMP_NUM_THREADS before torch is imported

from lightning_meta.core.allocator import keep_freed_memory

keep_freed_memory()  # as the command line does, and for both

import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from torch import Tensor  # noqa: E402
from torch.func import functional_call  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from lightning_meta.core import Episode, Examples, FewShotLearner, prediction_loss  # noqa: E402
from lightning_meta.learners import MAML, ProtoNet  # noqa: E402
from lightning_meta.nn import MLP, Conv4  # noqa: E402


def main() -> None:
    args = arguments(__doc__ or "")
    repeats = 1 if args.quick else 5
    torch.manual_seed(0)
    peak = matmul_rate()
    rows = [
        protonet("ProtoNet 60-way 1-shot 5-query, Conv4 28x28", 60, peak, repeats),
        protonet("ProtoNet 5-way 1-shot 5-query, Conv4 28x28", 5, peak, repeats),
        maml(
            "MAML 5-way 1-shot, 1 step, strided Conv4 28x28",
            image_episode(8 if args.quick else 32),
            False,
            1,
            peak,
            repeats,
        ),
        maml("MAML 5-way 1-shot, 5 steps, pooled Conv4 28x28", image_episode(4), True, 5, peak, repeats),
        maml("MAML sinusoid 10-shot, 1 step, MLP 1-40-40-1", sinusoid_episode(25), None, 1, peak, repeats),
    ]
    show(rows, args.json)


def protonet(item: str, ways: int, peak: float, repeats: int) -> Row:
    episode, learner = image_episode(1, ways, 5), ProtoNet(Conv4())

    def plain() -> Tensor:
        z = learner.backbone(torch.cat([episode.support.x[0], episode.query.x[0]]))
        support, query = z.split([ways, 5 * ways])
        return F.cross_entropy(-torch.cdist(query, support).square(), episode.query.y[0])

    return contest(f"tasks/s, {item}", learner, episode, plain, peak, repeats)


def maml(item: str, episode: Episode, pool: bool | None, steps: int, peak: float, repeats: int) -> Row:
    """`pool` chooses the Conv4, or None the sinusoid's MLP."""
    rate, outputs = (0.01, 1) if pool is None else (0.4, 5)
    backbone = MLP([1, 40, 40]) if pool is None else Conv4(pool=pool)
    learner = MAML(backbone, outputs, rate, steps)
    network = learner.network

    def plain() -> Tensor:
        losses = []
        for x, y, query_x, query_y in zip(*episode.support, *episode.query, strict=True):
            weights: dict[str, Tensor] = dict(network.named_parameters())
            for _ in range(steps):
                loss = prediction_loss(functional_call(network, weights, (x,)), y)
                gradients = torch.autograd.grad(loss, list(weights.values()), create_graph=True)
                weights = {name: w - rate * g for (name, w), g in zip(weights.items(), gradients, strict=True)}
            losses.append(prediction_loss(functional_call(network, weights, (query_x,)), query_y))
        return torch.stack(losses).mean()

    return contest(f"tasks/s, {item}", learner, episode, plain, peak, repeats)


def contest(
    item: str, learner: FewShotLearner, episode: Episode, plain: Callable[[], Tensor], peak: float, repeats: int
) -> Row:
    tasks = len(episode.query.x)

    def step(loss: Callable[[], Tensor]) -> int:
        learner.zero_grad()
        loss().backward()
        return tasks

    with FlopCounterMode(display=False) as flops:
        step(plain)
    limit = tasks * peak / flops.get_total_flops()
    return race(item, lambda: step(lambda: learner.loss(episode).loss), lambda: step(plain), limit, repeats)


def image_episode(tasks: int, ways: int = 5, queries: int = 1) -> Episode:
    def examples(n: int) -> Examples:
        return Examples(
            torch.rand(tasks, ways * n, 1, 28, 28), torch.arange(ways).repeat_interleave(n).expand(tasks, -1)
        )

    return Episode(examples(1), examples(queries))


def sinusoid_episode(tasks: int) -> Episode:
    x = torch.rand(tasks, 20, 1) * 10 - 5
    y = torch.sin(x)
    return Episode(Examples(x[:, :10], y[:, :10]), Examples(x[:, 10:], y[:, 10:]))


def matmul_rate() -> float:
    """Floating-point operations per second of the best of 20 float32 products."""
    a, best = torch.rand(1024, 1024), float("inf")
    for _ in range(20):
        start = time.process_time()
        torch.mm(a, a)
        best = min(best, time.process_time() - start)
    return 2 * 1024**3 / best


if __name__ == "__main__":
    main()
