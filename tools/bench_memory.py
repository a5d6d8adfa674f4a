"""Peak memory of one meta-batch against the number of inner steps: MAML, MAML that recomputes, FOMAML and iMAML.

    python tools/bench_memory.py [--quick] [--json]

Two tasks of 5 ways, 5 shots and 1 query a class, Conv4 on 28x28 images, forward and backward of the meta-objective, in MiB
over what the process held before, each measured in a process of its own: its peak resident memory, or on a GPU PyTorch's
peak allocation. The peer is second-order MAML with as many steps; the limit is a learner of no inner step at all, which
only learns from the queries.
"""

import os
import subprocess
import sys
from pathlib import Path

from bench import Row, arguments, show  # sets OMP_NUM_THREADS before torch is imported

STEPS = (1, 5, 10, 20, 50)
LEARNERS = ("MAML", "MAML, recompute", "FOMAML", "iMAML")


def main() -> None:
    args = arguments(__doc__ or "")
    limit, rows = measure("MAML", 0), []
    for steps in STEPS[:2] if args.quick else STEPS:
        peaks = {name: measure(name, steps) for name in LEARNERS}
        rows += [
            Row(f"peak MiB, {name}, {steps} inner steps, Conv4 28x28", peak, peaks["MAML"], peak / peaks["MAML"], limit)
            for name, peak in peaks.items()
        ]
    show(rows, args.json)


def measure(name: str, steps: int) -> float:
    """Peak MiB of one meta-batch, in a new process."""
    command = f"import bench_memory; print(bench_memory.peak({name!r}, {steps}))"
    done = subprocess.run(
        [sys.executable, "-c", command],
        cwd=Path(__file__).parent,
        env={**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"},  # freed tensors leave the process
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(done.stderr)
    return float(done.stdout)


def peak(name: str, steps: int) -> float:
    """Peak MiB of one meta-batch in this process, over what it holds before."""
    import torch

    from lightning_meta.core import Episode, Examples
    from lightning_meta.learners import IMAML, MAML
    from lightning_meta.nn import Conv4

    device = "cuda" if torch.cuda.is_available() else "cpu"

    def train(tasks: int, steps: int) -> None:
        def examples(n: int) -> Examples:
            return Examples(
                torch.rand(tasks, 5 * n, 1, 28, 28, device=device),
                torch.arange(5, device=device).repeat_interleave(n).expand(tasks, -1),
            )

        if name == "iMAML":
            learner = IMAML(Conv4(), 5, 0.1, steps)
        else:
            learner = MAML(Conv4(), 5, 0.1, steps, first_order=name == "FOMAML", recompute=name == "MAML, recompute")
        learner.to(device).loss(Episode(examples(5), examples(1))).loss.backward()

    train(1, min(steps, 1))  # what libraries load at their first call does not count
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        train(2, steps)
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
    before = resident("VmRSS")
    train(2, steps)
    return resident("VmHWM") - before


def resident(field: str) -> float:
    """Resident memory of this process in MiB: now, `VmRSS`, or at its peak, `VmHWM`. Linux only."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024


if __name__ == "__main__":
    main()
