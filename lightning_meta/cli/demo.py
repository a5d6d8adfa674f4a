"""lightning-meta demo: the whole way on made-up handwriting, in a few minutes on two cores."""

import json
import signal
import subprocess
import sys
from pathlib import Path

from jsonargparse import auto_cli
from rich.console import Console
from rich.table import Table

from lightning_meta.config.parser_errors import Complaining

SHARDS = Path("shards/glyphs")
RUNS = {"protonet": "ProtoNet", "maml": "MAML"}


def demo(episodes: int = 600, epochs: int = 3) -> None:
    """Write glyphs, meta-train ProtoNet and then MAML on 5-way 1-shot episodes, meta-test both on unseen characters.

    Every step is an ordinary command, shown before it runs.

    Args:
        episodes: meta-test episodes.
        epochs: of meta-training, 250 meta-batches each; `glyphs.yaml` alone takes 8.
    """
    if not SHARDS.exists():
        command("shards", "write", "glyphs", "--out", str(SHARDS))
    command("shards", "sheet", str(SHARDS), "--out", "glyphs.png")
    table = Table(title=f"glyphs, 5-way 1-shot, {episodes} test episodes of characters never trained on")
    for column in ("learner", "accuracy", "95 % CI", "predictions"):
        table.add_column(column)
    for config, name in RUNS.items():
        configs = ("--config", "glyphs.yaml", "--config", f"{config}.yaml")
        command("fit", *configs, "--trainer.max_epochs", str(epochs))
        command("test", *configs, "--ckpt_path", "best", "--data.test_episodes", str(episodes))
        result = json.loads(newest_result(f"glyphs-{config}").read_text())
        accuracy, ci95 = result["scores"]["accuracy"]
        table.add_row(name, f"{100 * accuracy:.2f} %", f"+- {100 * ci95:.2f}", result["predictions"])
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
