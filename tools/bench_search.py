"""The cost of a search beyond its training, beside a bare loop of `fit` runs in sequence.

    python tools/bench_search.py [--quick] [--json]

Trials of MAML on sinusoids, one core each, as many at a time as this machine has cores; the peer is a shell's loop of
`lightning-meta fit`, one after the other. Training is the time from the first to the last training step, read from the
runs' TensorBoard events. Rows:

- seconds from the command to the first training step (limit: none);
- seconds a trial costs beyond its training: of the search, what its slot was not training, a trial;
- share of the time of all slots that was spent training, the start of the cluster and the end included (limit: 1);
- seconds of a whole search, a trial, when its trials train for one meta-batch only: what scheduling costs.

In full, trials of five minutes, and 1,000 short ones; --quick, of some seconds, and 6.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import yaml
from bench import Row, arguments, show
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_meta.core.cores import usable_cores

STEP_SECONDS = 0.01  # of a meta-batch, roughly


class Spent(NamedTuple):
    """Seconds: of the whole command, to the first training step, and of training, a run."""

    whole: float
    to_first_step: float
    training: list[float]


def main() -> None:
    args = arguments(__doc__ or "")
    slots = usable_cores()
    seconds, trials, short = (2, 2 * slots, 6) if args.quick else (300, 2 * slots, 1000)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        batches = max(int(seconds / STEP_SECONDS), 1)
        ours = search(Path(folder, "long"), trials, batches)
        peer = loop(Path(folder, "loop"), 1, batches)
        item = f"{trials} trials of {sum(ours.training) / trials:.0f} s"
        rows += [
            row("s, command to first training step", ours.to_first_step, peer.to_first_step, 0),
            row(f"s beyond training, a trial, {item}", beyond(ours, slots), beyond(peer, 1), 0),
            row(f"share of time spent training, {item}", share(ours, slots), share(peer, 1), 1),
        ]
        brief = search(Path(folder, "short"), short, 1)
        one = loop(Path(folder, "brief"), 2, 1)
        rows.append(row(f"s, a trial of one meta-batch, {short} trials", brief.whole / short, one.whole / 2, 0))
    show(rows, args.json)


def row(item: str, ours: float, peer: float, limit: float) -> Row:
    return Row(item, ours, peer, ours / peer, limit)


def beyond(spent: Spent, slots: int) -> float:
    return (spent.whole * slots - sum(spent.training)) / len(spent.training)


def share(spent: Spent, slots: int) -> float:
    return sum(spent.training) / (spent.whole * slots)


def configuration(folder: Path, batches: int, trials: int | None) -> str:
    """The path of a configuration of MAML on sinusoids that trains for so many meta-batches, one validation included."""
    config = {
        "data": {"init_args": {"epoch_batches": batches, "val_episodes": 25, "test_episodes": 25, "meta_batch": 25}},
        "trainer": {
            "max_epochs": 1,
            "accelerator": "cpu",
            "log_every_n_steps": max(batches // 100, 1),
            "enable_progress_bar": False,
        },
    }
    if trials:
        config["search"] = {
            "trials": trials,
            "space": {"model.learner.init_args.inner_lr": {"loguniform": [0.001, 0.02]}},
        }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "bench.yaml"
    path.write_text(yaml.safe_dump(config))
    return str(path)


def search(folder: Path, trials: int, batches: int) -> Spent:
    started = time.time()
    lightning_meta("tune", folder, configuration(folder, batches, trials))
    whole = time.time() - started
    spans = [span(run) for run in sorted(folder.glob("runs/*/version_0/trial_*"))]
    return Spent(whole, min(first for first, _ in spans) - started, [last - first for first, last in spans])


def loop(folder: Path, runs: int, batches: int) -> Spent:
    file, started = configuration(folder, batches, None), time.time()
    for _ in range(runs):
        lightning_meta("fit", folder, file)
    whole = time.time() - started
    spans = [span(run) for run in sorted(folder.glob("runs/*/version_*"))]
    return Spent(whole, min(first for first, _ in spans) - started, [last - first for first, last in spans])


def span(run: Path) -> tuple[float, float]:
    """Return the times at which a run logged its first and its last training step, on the wall clock."""
    times = [
        event.wall_time
        for file in run.glob("events*")
        for event in EventAccumulator(str(file)).Reload().Scalars("meta_train/loss")
    ]
    return min(times), max(times)


def lightning_meta(command: str, folder: Path, file: str) -> None:
    arguments = [command, "--config", "sinusoid-maml.yaml", "--config", file]
    done = subprocess.run(
        [sys.executable, "-m", "lightning_meta", *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(done.stdout + done.stderr)


if __name__ == "__main__":
    main()
