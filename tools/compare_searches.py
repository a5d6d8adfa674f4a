"""Population based training against random search, with the same number of training episodes, over several seeds.

    python tools/compare_searches.py [--seeds 0 1 2] [--trials 8] [--epochs 8] [--batches 100] [--out DIR]

MAML on glyphs: inner rate, outer rate and training shots, scored at 1 and 5 shots on the same meta-validation episodes, the
best tested once on meta-test. Write the glyphs first: `lightning-meta shards write glyphs --out shards/glyphs`. Prints a
table of Markdown. A single search has the interval of its episodes; the means over seeds, and the paired differences, that
of Student's t over the seeds.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from scipy.stats import t as student

SEARCHES = {"population": "search/pbt_inner_lr_shots.yaml", "random": "search/random_inner_lr_shots.yaml"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=8, help="of a trial, each with a validation (default: 8)")
    parser.add_argument("--batches", type=int, default=100, help="meta-batches of an epoch (default: 100)")
    parser.add_argument("--val-episodes", type=int, default=200, help="at each of the shots (default: 200)")
    parser.add_argument("--out", type=Path, default=Path("runs/compare_searches"))
    args = parser.parse_args()
    print("| search | seed | best in meta-validation, % | its meta-test 1-shot, % | 5-shot, % | its values |")
    print("|---|---|---|---|---|---|")
    scores: dict[str, list[list[float]]] = {name: [] for name in SEARCHES}
    for seed in args.seeds:
        for name, config in SEARCHES.items():
            size = f"{args.trials}x{args.epochs}x{args.batches}-{args.val_episodes}"
            found = search(args, config, seed, args.out / f"{name}-{seed}-{size}")
            best, tested = found["trials"][0], [one["scores"]["accuracy"] for one in found["meta_test"]]
            scores[name].append([100 * best["score"], *(100 * mean for mean, _ in tested)])
            cells = [interval(best["score"], best["ci95"]), *(interval(*score) for score in tested)]
            values = ", ".join(f"{key.rpartition('.')[2]} {value:.3g}" for key, value in best["values"].items())
            print(f"| {name} | {seed} | {' | '.join(cells)} | {values} |", flush=True)
    for name, found in scores.items():
        print(row(name, found))
    pairs = zip(scores["population"], scores["random"], strict=True)
    print(row("population - random", [[a - b for a, b in zip(*pair, strict=True)] for pair in pairs]))


def row(name: str, found: list[list[float]]) -> str:
    """The mean of each column over the seeds."""
    cells = [over_seeds(list(column)) for column in zip(*found, strict=True)]
    return f"| {name} | mean of {len(found)} | {' | '.join(cells)} | |"


def over_seeds(values: list[float]) -> str:
    """The mean and, of 2 values or more, the half-width of its 95 % interval."""
    mean, n = statistics.mean(values), len(values)
    if n < 2:
        return f"{mean:.2f}"
    return f"{mean:.2f} +- {student.ppf(0.975, n - 1) * statistics.stdev(values) / n**0.5:.2f}"


def search(args: argparse.Namespace, config: str, seed: int, out: Path) -> dict[str, Any]:
    """The report of a search, run unless it is there."""
    report = out / "search" / "version_0" / "search.json"
    if not report.is_file():
        command = [sys.executable, "-m", "lightning_meta", "tune"]
        command += ["--config", "glyphs-maml.yaml", "--config", config]
        command += [f"--search.seed={seed}", f"--seed_everything={seed}", f"--search.trials={args.trials}"]
        command += [f"--trainer.max_epochs={args.epochs}", f"--data.epoch_batches={args.batches}"]
        command += [f"--data.val_episodes={args.val_episodes}"]
        command += [f"--trainer.logger.init_args.save_dir={out}", "--trainer.logger.init_args.name=search"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(done.stdout + done.stderr)
    return json.loads(report.read_text())


def interval(mean: float, ci95: float) -> str:
    return f"{100 * mean:.2f} +- {100 * ci95:.2f}"


if __name__ == "__main__":
    main()
