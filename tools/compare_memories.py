"""The worth of a memory: agents that differ in nothing but their sequence network, in the I-maze.

    python tools/compare_memories.py [--seeds 0 1 2] [--memories LSTM SNAIL Memoryless] [--out DIR] [--json] [--quick]

A cue at the start of a trial tells on which side at the maze's end the reward lies; in the later episodes of the trial it is
gone, and the agent must remember (Wang et al. 2016, arXiv:1611.05763, section 3.2.2). Each agent is RL2 with PPO, trained for
as many meta-batches; its last checkpoint is judged on the same test tasks. A row is a run: the share of episodes in which the
agent turned to the right side, in the first episode and in the later ones, with 95 % intervals over tasks; half is chance for
an agent without a memory. Never to turn counts as wrong.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch

import torch
from compare_strategies import Setting, Trained, tasks
from torch import Tensor

from lightning_meta.training.checkpoint import origin, read

EPISODES, HORIZON = 4, 12
MEMORIES = {
    "LSTM": {"width": 32},
    "GRU": {"width": 32},
    "SNAIL": {"length": EPISODES * HORIZON, "width": 32, "filters": 16, "values": 8},
    "Transformer": {"width": 32, "layers": 2},
    "DeltaNet": {"width": 32, "layers": 1, "heads": 2},
    "Memoryless": {"width": 64},
}


class Figure(NamedTuple):
    """A run: shares in per cent with the half-widths of their intervals, and CPU seconds of its training."""

    memory: str
    seed: int
    first: tuple[float, float]
    later: tuple[float, float]
    cpu_seconds: float | None


def main() -> None:
    args = arguments()
    torch.set_num_threads(1)
    found = []
    if not args.json:
        print("| memory | seed | first episode, % | later episodes, % | CPU seconds |\n|---|---|---|---|---|")
    for memory in args.memories:
        for seed in args.seeds:
            found.append(measure(memory, seed, args))
            if not args.json:
                print(row(found[-1]), flush=True)
    if args.json:
        print(json.dumps([one._asdict() for one in found]))


def measure(memory: str, seed: int, args: argparse.Namespace) -> Figure:
    path = fit(memory, seed, args)
    one = Trained.load(str(path))
    meetings = tasks(Setting("I-maze", one.world, EPISODES, {}), "test", args.tasks, 0)
    with torch.no_grad():
        right = torch.cat([turned_right(one.agent.returns(mdps)) for mdps in meetings])
    first, later = share(right[:, :1]), share(right[:, 1:])
    return Figure(memory, seed, first, later, origin(path, read(path)).cpu_seconds)


def share(right: Tensor) -> tuple[float, float]:
    """Per cent, and its interval over tasks."""
    each = 100 * right.mean(1)
    return float(each.mean()), 1.96 * float(each.std()) / len(each) ** 0.5


def row(found: Figure) -> str:
    shares = [f"{mean:.1f} +- {ci95:.1f}" for mean, ci95 in (found.first, found.later)]
    return f"| {found.memory} | {found.seed} | {' | '.join(shares)} | {found.cpu_seconds:.0f} |"


def turned_right(returns: Tensor) -> Tensor:
    """Of each episode, whether it ended where the reward is: that pays 1, the other end -1, a step -1 / horizon."""
    return (returns > -0.5).float()


def fit(memory: str, seed: int, args: argparse.Namespace) -> Path:
    """The last checkpoint of a run, trained unless it is there."""
    folder = args.out / f"{memory}-{seed}-{args.meta_batches}"
    path = folder / "run/version_0/checkpoints/last.ckpt"
    if not path.is_file():
        learner = "--model.learner.init_args"
        command = [sys.executable, "-m", "lightning_meta", "fit", "--config", "imaze.yaml", "--config", "rl2.yaml"]
        command += [f"--seed_everything={seed}", f"--data.seed={seed}", f"{learner}.episodes={EPISODES}"]
        command += [f"{learner}.sequence=lightning_meta.nn.{memory}"]
        command += [f"{learner}.sequence.init_args.{name}={value}" for name, value in MEMORIES[memory].items()]
        command += [
            f"{learner}.entropy_weight=0.03",
            f"{learner}.standardise_rewards=false",
            "--model.optimizer.init_args.lr=0.001",
        ]
        # the rate falls: where all goes well advantages are noise, and PPO makes them as large as any
        scheduler = "--model.scheduler.init_args"
        command += [
            "--model.scheduler=torch.optim.lr_scheduler.LinearLR",
            f"{scheduler}.total_iters={args.meta_batches}",
        ]
        command += [f"{scheduler}.start_factor=1.0", f"{scheduler}.end_factor=0.02"]
        command += [f"--data.world.init_args.horizon={HORIZON}", "--data.meta_batch=256"]
        command += [f"--data.epoch_batches={args.meta_batches // 2}", "--trainer.max_epochs=2"]
        command += [f"--trainer.logger.init_args.save_dir={folder}", "--trainer.logger.init_args.name=run"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(done.stdout + done.stderr)
    return path


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--memories", nargs="+", choices=list(MEMORIES), default=["LSTM", "SNAIL", "Memoryless"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--meta-batches", type=int, default=100, help="that each is trained for (default: 100)")
    parser.add_argument("--tasks", type=int, default=2000, help="that each is judged on (default: 2,000)")
    parser.add_argument("--out", type=Path, default=Path("runs/compare_memories"))
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true", help="one seed, two meta-batches: whether it runs")
    args = parser.parse_args()
    if args.quick:
        args.seeds, args.meta_batches, args.tasks = args.seeds[:1], 2, 50
    if args.meta_batches < 2 or args.tasks < 2:
        parser.error(f"meta-batches {args.meta_batches}, tasks {args.tasks}: give 2 or more")
    return args


if __name__ == "__main__":
    main()
