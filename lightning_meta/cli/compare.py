"""lightning-meta compare: several checkpoints side by side on the same frozen episodes."""

from itertools import product
from pathlib import Path
from typing import Any

import torch
from rich.progress import Progress

from datamodules.images import ImageTasks
from datamodules.reading.shard_set import ShardSet
from datamodules.sampling.episodes import EpisodeSize, EpisodeStream, Tasks
from datamodules.sinusoid import SinusoidTasks
from lightning_meta.cli.checks import add_trust, check_shape, try_task
from lightning_meta.cli.comparison import Cell, Round, compare_paired, known, markdown
from lightning_meta.cli.complaints import Complaining
from lightning_meta.cli.entrants import Entrant, entrants
from lightning_meta.cli.pictures import comparison
from lightning_meta.core import Episode, Examples, InputError
from lightning_meta.core.files import check_writable, whole, write_json
from lightning_meta.training.evaluation import Summary, measure, protocols, score_name

ENDINGS = (".md", ".json", ".png")


def compare(
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
    configured = entrants(checkpoints, names, trust or ())
    streams = {
        (source, w, s): EpisodeStream(tasks, split, EpisodeSize(w, s, queries), episodes, batch, seed, rank=0, world=1)
        for source, tasks in open_sets(on, ways).items()
        for w, s in product(dict.fromkeys(ways or [1 if isinstance(tasks, SinusoidTasks) else 5]), dict.fromkeys(shots))
    }
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    field = judged(configured, list(streams.values()), device)
    for path in dict.fromkeys(entrant.path for entrant in field if not entrant.validation):
        print(f"{path}: its run holds no validation curve, so the picture shows none")
    known_names = [entrant.name for entrant in field]
    if against is not None and against not in known_names:
        raise InputError(f"--against {against} is none of the learners: choose from {', '.join(known_names)}")
    rounds = []
    with Progress() as progress:
        bar = progress.add_task("episodes", total=episodes * len(streams))
        for (source, w, s), stream in streams.items():
            rounds.append(play(source, w, s, stream, field, device, lambda n: progress.advance(bar, n)))
            compare_paired(rounds[-1], against)
    if all("reason" in cell for round in rounds for cell in round.cells.values()):
        first = next(iter(rounds[0].cells.values()))
        raise InputError(f"no checkpoint can do any of these tasks: {first['reason']}")
    protocol = {"split": split, "queries": queries, "episodes": episodes, "seed": seed}
    protocol |= {"tasks_at_a_time": batch, "device": device.type}
    report(out, protocol, field, rounds, against)


def open_sets(on: list[str], ways: list[int] | None) -> dict[str, Tasks]:
    """The task distributions, by what checkpoints call them; InputError where regression and images would share a table."""
    if "sinusoid" in on and (len(set(on)) > 1 or ways):
        asked = f"--on {' '.join(on)}{f' --ways {ways}' if ways else ''}"
        raise InputError(f"{asked}: sinusoid is regression, which has no ways and no accuracy: compare on it alone")
    if "sinusoid" in on:
        return {"Sinusoid": SinusoidTasks()}
    return {root: ImageTasks(ShardSet(root)) for root in on}


def judged(configured: list[Entrant], streams: list[EpisodeStream], device: torch.device) -> list[Entrant]:
    """Each learner as configured and, where it can be judged as inductive and as transductive, in the other way too, under
    its name and that word: by what is measured on the first episode that it can do."""
    found = []
    for entrant in configured:
        entrant.learner.to(device)
        firsts = ((stream, moved(stream.read(0), device)) for stream in streams)
        episode = next((first for stream, first in firsts if not trial(entrant, stream, first)), None)
        ways = {"": entrant.learner} if episode is None else protocols(entrant.learner, episode)
        found += [
            entrant._replace(name=entrant.name if own is entrant.learner else f"{entrant.name} ({way})", learner=own)
            for way, own in ways.items()
        ]
    return found


def play(
    source: str, ways: int, shots: int, stream: EpisodeStream, field: list[Entrant], device: torch.device, advance: Any
) -> Round:
    """Every learner that can, on every episode of the stream, in turn on each meta-batch."""
    first = moved(stream.read(0), device)
    cells: dict[str, Cell] = {entrant.name: trial(entrant, stream, first) for entrant in field}
    able = [entrant for entrant in field if not cells[entrant.name]]
    summary, scores = Summary(), {entrant.name: [] for entrant in able}
    for episode in stream:
        episode = moved(episode, device)
        for entrant in able:
            found = measure(entrant.learner, episode)
            summary.add_measured(entrant.name, episode, found)
            scores[entrant.name] += found.score.tolist()
        advance(len(episode.query.y))
    kind, means = score_name(first), summary.compute()
    for name, own in scores.items():
        mean, ci95 = means[f"{name}/{kind}"]
        cells[name] = {"mean": float(mean), "ci95": None if ci95 is None else known(ci95)}
        cells[name] |= {part: float(means[f"{name}/{part}"][0]) for part in ("nll", "ece") if f"{name}/{part}" in means}
        cells[name] |= {f"{part}_seconds": float(means[f"{name}/seconds/{part}"][0]) for part in ("adapt", "query")}
        cells[name]["scores"] = own
    for entrant in able:
        if entrant.classes is not None and (met := stream.tasks.met(stream.split, entrant.classes)):
            cells[entrant.name]["classes_trained_on"] = met
    return Round(source, ways, shots, kind, cells)


def trial(entrant: Entrant, stream: EpisodeStream, episode: Episode) -> Cell:
    """Empty if the learner can do such tasks, else the reason why not. What starts up once does so here, untimed."""
    try:
        if entrant.images and isinstance(stream.tasks, ImageTasks):
            check_shape(entrant.path, entrant.images, stream.tasks)
        try_task(entrant.learner, episode)
    except InputError as error:
        return {"reason": str(error)}
    return {}


def moved(episode: Episode, device: torch.device) -> Episode:
    return Episode(*(Examples(part.x.to(device), part.y.to(device)) for part in episode))


def report(out: Path, protocol: dict[str, Any], field: list[Entrant], rounds: list[Round], against: str | None) -> None:
    """Print the tables and write them, every episode's scores, and the picture."""
    facts = [entrant.facts() for entrant in field]
    text = markdown(protocol, facts, rounds, against)
    results = [
        {"set": round.source, "ways": round.ways, "shots": round.shots, "score": round.kind, "learner": name, **cell}
        for round in rounds
        for name, cell in round.cells.items()
    ]
    paths = files(out)
    with whole(paths[0]) as aside:
        aside.write_text(text, encoding="utf-8", errors="surrogateescape")
    write_json(paths[1], {"protocol": protocol, "learners": facts, "results": results})
    with whole(paths[2]) as aside:
        comparison(facts, rounds, aside)
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
    parser.add_argument("--on", type=str, required=True, help="shard sets, or `sinusoid` alone", **many)
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
    compare(**args | {"checkpoints": [Path(path) for path in args["checkpoints"]], "out": Path(args["out"])})
