"""lightning-meta demo: the whole way on made-up handwriting, in a few minutes on two cores."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import yaml
from jsonargparse import auto_cli
from rich.console import Console
from rich.table import Table

from lightning_meta.config.merge import run_name
from lightning_meta.config.parser_errors import Complaining
from lightning_meta.reports.tables import described

SHARDS = Path("shards/glyphs")
RUNS = {"ProtoNet": ("glyphs.yaml", "protonet.yaml"), "MAML": ("glyphs-maml.yaml",)}


def demo(episodes: int = 600, epochs: int = 3) -> None:
    """Write glyphs, meta-train ProtoNet and then MAML on 5-way 1-shot episodes, meta-test both on unseen characters.

    Every step is an ordinary command, shown before it runs.

    Args:
        episodes: meta-test episodes.
        epochs: epochs of meta-training, of 250 meta-batches each; `glyphs.yaml` alone takes 8.
    """
    if not SHARDS.exists():
        command("shards", "write", "glyphs", "--out", str(SHARDS))
    command("shards", "sheet", str(SHARDS), "--out", "glyphs.png")
    table = Table(title=f"glyphs, 5-way 1-shot, {episodes} test episodes of characters never trained on")
    for column in ("learner", "backbone", "accuracy", "95 % CI", "predictions"):
        table.add_column(column)
    for name, files in RUNS.items():
        configs = [part for file in files for part in ("--config", file)]
        command("fit", *configs, "--trainer.max_epochs", str(epochs))
        command("test", *configs, "--ckpt_path", "best", "--data.test_episodes", str(episodes))
        file = newest_result(run_name(list(files)))
        result = json.loads(file.read_text())
        learner = yaml.safe_load((file.parent / "config.yaml").read_text())["model"]["learner"]
        accuracy, ci95 = result["scores"]["accuracy"]
        table.add_row(
            name,
            described(learner["init_args"]["backbone"]),
            f"{100 * accuracy:.2f} %",
            f"+- {100 * ci95:.2f}",
            result["predictions"],
        )
    Console().print(table)
    print("see the characters:  glyphs.png")
    print(f"watch the curves:    {Path(sys.executable).parent / 'tensorboard'} --logdir runs")


def command(*arguments: str) -> None:
    """Show and run `lightning-meta ARGUMENTS`; a failure ends the demo with its status. A Ctrl-C is the command's, which
    may have something to save."""
    print(f"\n$ lightning-meta {' '.join(arguments)}", flush=True)
    before = signal.signal(signal.SIGINT, lambda *_: None)
    status = subprocess.run([sys.executable, "-m", "lightning_meta", *arguments], check=False).returncode
    signal.signal(signal.SIGINT, before)
    if status:
        sys.exit(status)


def newest_result(run: str) -> Path:
    """The test result that was written last among the versions of a run."""
    return max(Path("runs", run).glob("version_*/meta_test*.json"), key=lambda path: path.stat().st_mtime)


def run(argv: list[str]) -> None:
    auto_cli(demo, args=argv, prog="lightning-meta demo", parser_class=Complaining)
