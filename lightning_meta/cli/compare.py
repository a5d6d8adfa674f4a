"""lightning-meta compare: several checkpoints side by side on the same frozen episodes."""

from pathlib import Path
from typing import Any

import torch
from rich.progress import Progress

from datamodules.episode_data import EpisodeData
from datamodules.images import ImageEpisodes
from datamodules.reading.named_set import set_place
from datamodules.sinusoid import Sinusoid
from lightning_meta.config.parser_errors import Complaining, add_trust
from lightning_meta.core import InputError
from lightning_meta.core.files import check_writable, whole, write_json
from lightning_meta.evaluation.compare import compare
from lightning_meta.reports.comparison import Comparison
from lightning_meta.reports.comparison_tables import markdown
from lightning_meta.reports.figures import picture_of_comparison

ENDINGS = (".md", ".json", ".png")


def compare_checkpoints(
    checkpoints: list[Path],
    on: list[str],
    ways: list[int] | None,
    shots: list[int],
    queries: int,
    episodes: int,
    split: str,
    seed: int,
    batch: int,
    names: list[str] | None,
    against: str | None,
    out: Path,
    trust: list[str] | None = None,
) -> None:
    """See `run`, which tells what the arguments are."""
    for option, value in {"episodes": episodes, "batch": batch}.items():
        if value < 1:
            raise InputError(f"--{option} is {value}: give 1 or more")
    check_writable(*files(out))
    sets = open_sets(on, ways, queries, episodes, seed, batch)
    for data in sets:
        data.splits["test"] = split
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with Progress() as progress:
        bar = progress.add_task("episodes", visible=False)
        options: dict[str, Any] = {"names": names, "against": against, "device": device, "trust": trust or ()}

        def show(done: int, total: int) -> None:
            progress.update(bar, completed=done, total=total, visible=True)

        found = compare(checkpoints, sets, ways, shots, **options, progress=show)
    for path in dict.fromkeys(one.checkpoint for one in found.learners if not one.validation):
        print(f"{path}: its run holds no validation curve, so the picture shows none")
    report(out, found)


def open_sets(
    on: list[str], ways: list[int] | None, queries: int, episodes: int, seed: int, batch: int
) -> list[EpisodeData]:
    """The task distributions. Raises InputError where regression and images would share a table."""
    if "sinusoid" in on and (len(set(on)) > 1 or ways):
        asked = f"--on {' '.join(on)}{f' --ways {ways}' if ways else ''}"
        raise InputError(f"{asked}: sinusoid is regression, which has no ways and no accuracy: compare on it alone")
    size: dict[str, Any] = {"queries": queries, "test_episodes": episodes, "seed": seed, "meta_batch": batch}
    if "sinusoid" in on:
        return [Sinusoid(**size)]
    places = [set_place(named) for named in dict.fromkeys(on)]
    return [ImageEpisodes(root, roots=roots, **size) for root, roots in places]


def report(out: Path, comparison: Comparison) -> None:
    """Print the tables and write them, every episode's scores, and the picture."""
    text, paths = markdown(comparison), files(out)
    with whole(paths[0]) as aside:
        aside.write_text(text, encoding="utf-8", errors="surrogateescape")
    write_json(paths[1], comparison.to_json())
    with whole(paths[2]) as aside:
        picture_of_comparison(comparison, aside)
    print(f"{text}\n{', '.join(map(str, paths))}")


def files(out: Path) -> list[Path]:
    return [out.with_name(out.name + ending) for ending in ENDINGS]


def run(argv: list[str]) -> None:
    parser = Complaining(
        prog="lightning-meta compare",
        description="Compare checkpoints on the same frozen episodes: scores with confidence intervals, paired differences,"
        " seconds to adapt, episodes of training; in its domain and out of it. Writes OUT.md, OUT.json (every episode's"
        " score) and OUT.png.",
    )
    many: dict[str, Any] = {"nargs": "+"}
    parser.add_argument("checkpoints", type=str, help="checkpoints of `fit`", **many)
    parser.add_argument(
        "--on", type=str, required=True, help="shard sets or their task files, or `sinusoid` alone", **many
    )
    parser.add_argument("--ways", type=int, help="classes of a task, one or several numbers (default: 5)", **many)
    parser.add_argument(
        "--shots", type=int, default=[1], help="support examples a class, one or several numbers", **many
    )
    parser.add_argument("--queries", type=int, default=15, help="queries a class")
    parser.add_argument("--episodes", type=int, default=600, help="episodes of each set and size")
    parser.add_argument("--split", default="test", help="split of the sets")
    parser.add_argument(
        "--seed", type=int, default=0, help="names the episodes; `test` has the same with the same data.seed"
    )
    parser.add_argument("--batch", type=int, default=1, help="tasks that are adapted to, and timed, at a time")
    parser.add_argument("--names", type=str, help="a name for each checkpoint (default: its run)", **many)
    parser.add_argument("--against", type=str, help="the learner that differences are to (default: the best)")
    parser.add_argument("--out", type=str, default="compare", help="files to write, without their endings")
    add_trust(parser)
    args = parser.parse_args(argv).as_dict()
    compare_checkpoints(
        **args | {"checkpoints": [Path(path) for path in args["checkpoints"]], "out": Path(args["out"])}
    )
