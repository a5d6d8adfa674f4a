"""Every family after the same few minutes: in-domain and out-of-domain accuracy, with more shots, and how they got there.

    python tools/compare_families.py [--minutes 8] [--seed N] [--omniglot DIR] [--glyphs DIR] [--out DIR]

One learner of each kind is trained on 5-way 1-shot Omniglot (the train characters alone), the same time on one core, with a
constant outer rate; then `lightning-meta compare` tests the last checkpoints on the same 600 episodes of 5 ways at 1, 5 and
10 shots, on meta-test characters and on made-up ones. Metric learners train on 20 ways, as they may. Write both shard sets
first: `lightning-meta shards write omniglot --out shards/omniglot`, and `glyphs`. A run that is there is not run again.
"""

import argparse
import subprocess
import sys
from pathlib import Path

EPISODES = {"ways": 20, "shots": 1, "queries": 5, "eval_ways": 5, "eval_queries": 15, "meta_batch": 1}
METRIC = [f"--data.{key}={value}" for key, value in EPISODES.items()]

FAMILIES = {
    "protonet": METRIC,
    "matching_fce": METRIC,
    "r2d2": METRIC,
    "maml": [],
    "reptile": [],
    "snail": [],
    "baselinepp": [],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=8, help="of training, each learner")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--omniglot", type=Path, default=Path("shards/omniglot"))
    parser.add_argument("--glyphs", type=Path, default=Path("shards/glyphs"))
    parser.add_argument("--out", type=Path, default=Path("runs/compare_families"))
    args = parser.parse_args()
    checkpoints = [train(args, name, options) for name, options in FAMILIES.items()]
    run(
        "compare", *checkpoints, "--names", *FAMILIES, "--on", args.omniglot, args.glyphs, "--ways", 5,
        "--shots", 1, 5, 10, "--queries", 10, "--episodes", 600, "--out", args.out / "compare",
    )  # fmt: skip


def train(args: argparse.Namespace, name: str, options: list[str]) -> Path:
    """The last checkpoint of a run, which is run unless it is there."""
    checkpoint = args.out / name / "version_0" / "checkpoints" / "last.ckpt"
    if not checkpoint.is_file():
        run(
            "fit", "--config", f"omniglot_{name}.yaml", *options, "--model.scheduler=null",
            f"--seed_everything={args.seed}", f"--data.root={args.omniglot}", "--data.splits=[train,val,test]",
            "--data.epoch_batches=100", "--data.val_episodes=100", "--trainer.max_epochs=10000",
            "--trainer.check_val_every_n_epoch=4", f'--trainer.max_time={{"seconds": {round(60 * args.minutes)}}}',
            f"--trainer.logger.init_args.save_dir={args.out}", f"--trainer.logger.init_args.name={name}",
        )  # fmt: skip
    return checkpoint


def run(*arguments: object) -> None:
    done = subprocess.run([sys.executable, "-m", "lightning_meta", *map(str, arguments)], check=False)
    if done.returncode:
        sys.exit(done.returncode)


if __name__ == "__main__":
    main()
