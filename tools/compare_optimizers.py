"""A learned optimiser beside SGD, Adam and RMSprop: who trains small networks that it has never seen in 100 steps?

    python tools/compare_optimizers.py [--quick] [--json] [--seed N] [--out FOLDER]

The experiment of Andrychowicz et al. 2016 (arXiv:1606.04474, section 3.2), with ten made-up characters in place of MNIST's
digits, 14 x 14 pixels, so that nothing is downloaded. The optimisee is a network of 20 sigmoid units with cross-entropy
on batches of 128. The optimiser, the `LearnedRule` of LearnedOptimizer, is meta-trained on freshly drawn networks for
100 steps, by back-propagation truncated at 20; the rule that was best on validation networks is kept. It is then tested
on fresh networks of the same kind and, unchanged, on two kinds that it has not seen: two layers, and ReLU (with which
the paper found that it fails).

SGD (momentum 0.9), Adam and RMSprop have a rate each, the one of a grid with the best final loss on networks of the very
kind that they are tested on, which is more than the learned rule gets. All contenders start from the same weights and see
the same batches, so differences are paired.

It prints the final loss over all images, mean and 95 % confidence interval over the fresh networks, and writes to FOLDER
results.json (the same, and mean training curves), curves.png and rule.pt (the state of the LearnedRule, to use it again:
`update, memory = rule(gradient, memory)`). One core, about a quarter of an hour.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch

from lightning_meta.core.allocator import keep_freed_memory

keep_freed_memory()  # as the command line does

import numpy as np  # noqa: E402
import torch  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402
from small_networks import Kind, Problem, Weights, characters, train  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.optim import SGD, Adam, Optimizer, RMSprop  # noqa: E402

from lightning_meta.learners.learned_optimizer import LearnedRule  # noqa: E402

KINDS = [
    Kind("20 sigmoid units, as in training", [20], nn.Sigmoid),
    Kind("two layers of 20 sigmoid units", [20, 20], nn.Sigmoid),
    Kind("20 ReLU units", [20], nn.ReLU),
]
CHUNK = 20  # steps between truncations of back-propagation
OUTER_LR = 0.003
TRAIN, VALIDATE, TUNE, TEST = range(4)  # purposes of a seed: no network of one is one of another

Draw = Callable[[int, int, int], Problem]  # networks, purpose, number -> fresh networks of a kind


class Effort(NamedTuple):
    """The cost of a comparison. updates: of the rule, each over CHUNK steps; every: updates from one validation to the next;
    validate, tune, test: networks; rates: of the grid, a decade; drawings: of each character."""

    steps: int = 100
    updates: int = 2500
    every: int = 100
    validate: int = 8
    tune: int = 16
    test: int = 64
    rates: int = 3
    drawings: int = 200


QUICK = Effort(steps=40, updates=12, every=6, validate=2, tune=2, test=4, rates=1, drawings=30)


class Learned(Optimizer):
    """A LearnedRule as one of torch's optimisers."""

    def __init__(self, weights: Weights, rule: LearnedRule):
        super().__init__(weights, {})
        self.weights, self.rule, self.memory = weights, rule, rule.start(join(weights))

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]  # without a closure
        gradient = join([w.grad for w in self.weights if w.grad is not None])
        update, self.memory = self.rule(gradient, self.memory)
        for w, change in zip(self.weights, split(update, self.weights), strict=True):
            w += change


RIVALS: dict[str, Callable[..., Optimizer]] = {"SGD": partial(SGD, momentum=0.9), "Adam": Adam, "RMSprop": RMSprop}


def meta_train(draw: Draw, effort: Effort) -> LearnedRule:
    """The rule that did best on validation networks, among those along meta-training."""
    rule = LearnedRule()
    outer = Adam(rule.parameters(), OUTER_LR)
    best, kept, updates = float("inf"), {}, 0
    while updates < effort.updates:
        problem = draw(1, TRAIN, updates)
        weights, memory = problem.weights, rule.start(join(problem.weights))
        for _ in range(effort.steps // CHUNK):
            weights = [w.detach().requires_grad_() for w in weights]
            memory = [(h.detach(), c.detach()) for h, c in memory]
            outer.zero_grad()
            weights, memory, loss = unroll(rule, problem, weights, memory)
            loss.backward()
            nn.utils.clip_grad_norm_(rule.parameters(), 1.0)
            outer.step()
            updates += 1
            if updates % effort.every == 0:
                loss = train(draw(effort.validate, VALIDATE, 0), partial(Learned, rule=rule), effort.steps)[1].mean()
                if loss < best:
                    best, kept = float(loss), {name: w.clone() for name, w in rule.state_dict().items()}
                print(f"meta-training: {updates} updates, loss {loss:.4f}, best {best:.4f}", file=sys.stderr)
    rule.load_state_dict(kept)
    return rule


def unroll(rule: LearnedRule, problem: Problem, weights: Weights, memory: Any) -> tuple[Weights, Any, Tensor]:
    """Weights and memory after CHUNK steps, and the sum of the losses after each of them (eq. 3 with w_t = 1), to be
    differentiated by the rule; the gradients that it reads are constants."""
    loss, total = problem.batch_losses(weights).sum(), torch.zeros(())
    for _ in range(CHUNK):
        gradient = join(list(torch.autograd.grad(loss, weights, retain_graph=True)))
        update, memory = rule(gradient, memory)
        weights = [w + change for w, change in zip(weights, split(update, weights), strict=True)]
        loss = problem.batch_losses(weights).sum()
        total = total + loss
    return weights, memory, total


def tuned(name: str, draw: Draw, effort: Effort) -> float:
    """The rate with the best mean final loss, of a grid from 1e-4 to 10."""

    def final(rate: float) -> float:
        _, losses = train(draw(effort.tune, TUNE, 0), partial(RIVALS[name], lr=rate), effort.steps)
        return float(losses.mean().nan_to_num(float("inf")))

    return min(np.logspace(-4, 1, 5 * effort.rates + 1).tolist(), key=final)


def compare(kind: Kind, rule: LearnedRule, draw: Draw, effort: Effort) -> dict[str, Any]:
    """Of each contender on the same fresh networks: its rate, final loss, how much less the learned rule's is (both with
    their ci95), and the mean curve."""
    rates = {name: tuned(name, draw, effort) for name in RIVALS}
    contenders = {"learned": partial(Learned, rule=rule)}
    contenders |= {name: partial(RIVALS[name], lr=rate) for name, rate in rates.items()}
    runs = {name: train(draw(effort.test, TEST, 0), each, effort.steps) for name, each in contenders.items()}
    rows = {
        name: {
            "rate": rates.get(name),
            "final_loss": mean_ci95(final),
            "learned_is_less_by": mean_ci95(final - runs["learned"][1]),
            "curve": curve.mean(1).tolist(),
        }
        for name, (curve, final) in runs.items()
    }
    return {"kind": kind.name, "networks": effort.test, "optimizers": rows}


def join(tensors: Weights) -> Tensor:
    return torch.cat([t.flatten() for t in tensors])


def split(vector: Tensor, like: Weights) -> Weights:
    parts = vector.split([t.numel() for t in like])
    return [part.view_as(t) for part, t in zip(parts, like, strict=True)]


def mean_ci95(values: Tensor) -> tuple[float, float]:
    return values.mean().item(), 1.96 * values.std().item() / len(values) ** 0.5


def table(results: list[dict[str, Any]]) -> str:
    lines = []
    for result in results:
        lines.append(f"{result['kind']}: loss over all images after training, {result['networks']} fresh networks")
        lines.append(f"  {'optimiser':10}{'rate':>8}{'loss':>10}{'ci95':>9}{'learned is less by':>21}{'ci95':>9}")
        for name, row in result["optimizers"].items():
            rate = "" if row["rate"] is None else f"{row['rate']:.2g}"
            (loss, ci95), (less, less_ci95) = row["final_loss"], row["learned_is_less_by"]
            gap = "" if name == "learned" else f"{less:21.4f}{less_ci95:9.4f}"
            lines.append(f"  {name:10}{rate:>8}{loss:10.4f}{ci95:9.4f}{gap}")
        lines.append("")
    return "\n".join(lines)


def picture(results: list[dict[str, Any]], path: Path) -> None:
    """Mean training curves, a panel a kind of network."""
    figure = Figure(figsize=(5 * len(results), 4), layout="constrained")
    for axes, result in zip(figure.subplots(1, len(results), squeeze=False).flat, results, strict=True):
        for name, row in result["optimizers"].items():
            axes.plot(row["curve"], label=name, linewidth=2 if name == "learned" else 1)
        axes.set(title=result["kind"], xlabel="step", ylabel="loss on the batch", yscale="log")
        axes.legend()
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="hardly any training, to see that it runs (seconds)")
    parser.add_argument("--json", action="store_true", help="print results.json in place of the table")
    parser.add_argument("--seed", type=int, default=0, help="of images, networks, batches and rule (default 0)")
    parser.add_argument("--out", type=Path, default=Path("runs/compare_optimizers"), help="default: %(default)s")
    args = parser.parse_args()
    if args.seed < 0:
        parser.error(f"--seed is {args.seed}; give 0 or more")
    args.out.mkdir(parents=True, exist_ok=True)
    effort = QUICK if args.quick else Effort()
    images = characters(args.seed, effort.drawings)
    draws: list[Draw] = [
        lambda networks, *what, kind=kind: Problem(kind, images, networks, (args.seed, *what)) for kind in KINDS
    ]
    torch.manual_seed(args.seed)
    rule = meta_train(draws[0], effort)
    torch.save(rule.state_dict(), args.out / "rule.pt")
    results = [compare(kind, rule, draw, effort) for kind, draw in zip(KINDS, draws, strict=True)]
    text = json.dumps(results, indent=1)
    (args.out / "results.json").write_text(text)
    picture(results, args.out / "curves.png")
    print(text if args.json else f"{table(results)}curves: {args.out / 'curves.png'}")


if __name__ == "__main__":
    main()
