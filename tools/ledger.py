"""The ledger: what the packaged reproductions reached, beside the papers.   python tools/ledger.py RUNS | --render

Reads below RUNS what `fit` and `test` left of the runs in configs/reproduce (the newest version of each, of agents all), and
prints tables of Markdown: the paper's figure, ours, the difference, what was trained, and the score in meta-validation at six
moments of the training, evenly spaced. A run is made again by
`lightning-meta fit --config RUN.yaml`, then `lightning-meta test --config RUN.yaml --ckpt_path last` (or best, as the
table says), with `--ways` and `--shots` for other sizes. The versions of an agent are its seeds: `fit` with
`--seed_everything S --data.seed S`; its figure is their mean.

`--render` writes docs/results.md, and the table of results in the README, from the tables in docs/results.
"""

import argparse
import json
import statistics
from pathlib import Path
from typing import Any, NamedTuple

import results_page
from published import BANDITS, MDPS
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


class Figure(NamedTuple):
    """A published figure: per cent, or mean squared error. `size` names the test's JSON, `score` what in it."""

    run: str
    size: str
    score: str  # accuracy, mse, steps/K or presentation/K
    predictions: str  # inductive or transductive
    paper: float
    source: str


def omniglot(run: str, predictions: str, source: str, *figures: float) -> list[Figure]:
    """Accuracies at 5-way 1-shot, 5-way 5-shot, 20-way 1-shot, 20-way 5-shot, as many as there are."""
    sizes = ("5way_1shot", "5way_5shot", "20way_1shot", "20way_5shot")
    return [Figure(run, size, "accuracy", predictions, f, source) for size, f in zip(sizes, figures, strict=False)]


def presentations(run: str, source: str, figures: dict[int, float]) -> list[Figure]:
    return [Figure(run, "5way_10shot", f"presentation/{k}", "inductive", f, source) for k, f in figures.items()]


def sinusoid(run: str, source: str, figures: dict[int, float]) -> list[Figure]:
    """Mean squared errors after so many inner steps, 5-shot; after 0, of a learner without any."""
    return [Figure(run, "1way_5shot", f"steps/{k}" if k else "mse", "inductive", f, source) for k, f in figures.items()]


LEDGER = [
    *omniglot("omniglot_protonet", "inductive", "Snell et al. 2017", 98.8, 99.7, 96.0, 98.9),
    *omniglot("omniglot_matching", "inductive", "Vinyals et al. 2016", 98.1, 98.9, 93.8, 98.5),
    *omniglot("omniglot_matching_fce", "inductive", "Vinyals et al. 2016, without", 98.1, 98.9, 93.8, 98.5),
    *omniglot("omniglot_matching_euclidean", "inductive", "oscarknagg's port", 98.3, 99.8, 92.8, 97.8),
    *omniglot("omniglot_r2d2", "inductive", "Bertinetto et al. 2019", 98.6, 99.7, 94.7, 98.9),
    *omniglot("omniglot_snail", "inductive", "Mishra et al. 2018", 99.07),
    *omniglot("omniglot_baseline", "inductive", "a user of Chen et al. 2019's code", 89.3, 98.6),
    *omniglot("omniglot_baselinepp", "inductive", "none published", float("nan"), float("nan")),
    *omniglot("omniglot_maml", "transductive", "Finn et al. 2017", 98.7),
    *omniglot("omniglot_fomaml", "transductive", "Nichol et al. 2018", 98.3),
    *omniglot("omniglot_anil", "transductive", "none published", float("nan")),
    *omniglot("omniglot_reptile", "inductive", "Nichol et al. 2018", 95.39),
    *omniglot("omniglot_reptile", "transductive", "Nichol et al. 2018", 97.68),
    *omniglot("omniglot_metalstm", "transductive", "none published", float("nan")),
    *presentations("omniglot_mann", "Santoro et al. 2016", {1: 36.4, 2: 82.8, 5: 94.9, 10: 98.1}),
    *presentations("omniglot_mann_lstm", "Santoro et al. 2016", {1: 24.4, 2: 49.5, 5: 63.6, 10: 62.5}),
    *sinusoid("sinusoid_maml", "Finn et al. 2017", {1: 0.67, 5: 0.38, 10: 0.35}),
    *sinusoid("sinusoid_fomaml", "none published", dict.fromkeys((1, 5, 10), float("nan"))),
    *sinusoid("sinusoid_metasgd", "none published", {1: float("nan")}),
    *sinusoid("sinusoid_reptile", "none published", dict.fromkeys((1, 10), float("nan"))),
    *sinusoid("sinusoid_cnp", "none published", {0: float("nan")}),
    *sinusoid("sinusoid_pretraining", "Finn et al. 2017", {1: 2.41, 5: 2.23, 10: 2.19}),
]


class Return(NamedTuple):
    """A published return of an agent. `score` is what of its test: total, return, updates/K or episode/K."""

    run: str
    score: str
    paper: float
    source: str


AGENTS = [
    *(
        Return(f"bandit_{pulls}_{arms}_rl2", "total", BANDITS[pulls, arms]["RL2"], "Duan et al. 2016")
        for pulls, arms in ((10, 5), (10, 10), (100, 5), (100, 10))
    ),
    *(
        Return(f"bandit_{pulls}_5_snail", "total", BANDITS[pulls, 5]["SNAIL"], "Mishra et al. 2018")
        for pulls in (10, 100)
    ),
    Return("two_arms_l2rl", "total", float("nan"), "a figure"),
    *(Return(f"mdp_{n}_rl2", "total", MDPS[n]["RL2"], "Duan et al. 2016") for n in (10, 25)),
    *(Return("navigation_maml", f"updates/{k}", float("nan"), "a figure") for k in range(4)),
    *(Return("cheetah_direction_maml", f"updates/{k}", float("nan"), "a figure") for k in range(4)),
    *(Return("point_robot_pearl", f"updates/{k}", float("nan"), "none published") for k in range(4)),
    *(
        Return(run, f"episode/{k}", float("nan"), "none published")
        for run in ("point_robot_rl2", "point_robot_sparse_rl2")
        for k in range(1, 5)
    ),
    Return("pendulum_recurrent_dpg", "return", float("nan"), "a figure"),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="?", help="the folder that `fit` wrote to")
    parser.add_argument("--render", action="store_true", help="write docs/results.md and the README's table")
    asked = parser.parse_args()
    if asked.render:
        results_page.write()
        return
    if asked.runs is None:
        parser.error("give the folder that `fit` wrote to, or --render")
    runs = asked.runs
    print("| run | test | paper | here | difference | training | while training |\n|---|---|---|---|---|---|---|")
    for figure in LEDGER:
        if row := line(figure, runs):
            print(row)
    print(
        "\n| agent | test | paper | here, a seed each | mean | difference | training of a seed |\n|---|---|---|---|---|---|---|"
    )
    for figure in AGENTS:
        if row := agent_line(figure, runs):
            print(row)


def agent_line(figure: Return, runs: Path) -> str | None:
    """A row of the agents' table; None where there is no such test."""
    versions = sorted(file.parent for file in (runs / figure.run).glob("version_*/meta_test.json"))
    results = [json.loads((version / "meta_test.json").read_text()) for version in versions]
    found = [result["scores"][figure.score] for result in results if figure.score in result["scores"]]
    if not found:
        return None
    mean = statistics.mean(score for score, _ in found)
    none = figure.paper != figure.paper
    steps = curve(versions[-1], "meta_train/steps")
    lived = f"{steps[max(steps)] / 1e6:.3g} M environment steps, " if steps else ""
    return (
        f"| `{figure.run}.yaml` | {figure.score.replace('/', ' ')}, {results[-1]['protocol']['tasks']} tasks |"
        f" {figure.source if none else f'{figure.paper} ({figure.source})'} |"
        f" {', '.join(f'{score:.2f} +- {ci95:.2f}' for score, ci95 in found)} | {mean:.2f} |"
        f" {'' if none else f'{mean - figure.paper:+.2f}'} | {lived}{training(results[-1]['checkpoint'])} |"
    )


def line(figure: Figure, runs: Path) -> str | None:
    """A row of the table; None where there is no such run or test."""
    versions = sorted((runs / figure.run).glob("version_*"), key=lambda path: path.stat().st_mtime)
    found = versions[-1] / f"meta_test_{figure.size}.json" if versions else None
    if not (found and found.is_file()):
        return None
    result = json.loads(found.read_text())
    ways = [result, result["other"]] if result["other"] else [result]
    scores = next((one["scores"] for one in ways if one["predictions"] == figure.predictions), {})
    if figure.score not in scores:
        return None
    mean, ci95 = scores[figure.score]
    regression = "mse" in result["scores"]
    scale, digits = (1, 3) if regression else (100, 2)
    paper = figure.source if figure.paper != figure.paper else f"{figure.paper} ({figure.source})"
    delta = "" if figure.paper != figure.paper else f"{scale * mean - figure.paper:+.{digits}f}"
    size = figure.size.replace("1way_", "").replace("way_", "-way ").replace("shot", "-shot")
    label = "" if figure.score in ("accuracy", "mse") else f", {figure.score.replace('/', ' ')}"
    return (
        f"| `{figure.run}.yaml` | {size}{label}, {figure.predictions}, {result['protocol']['episodes']} episodes | {paper} |"
        f" {scale * mean:.{digits}f} +- {scale * ci95:.{digits}f} | {delta} | {training(result['checkpoint'])} |"
        f" {learning(versions[-1], figure.score, scale, digits)} |"
    )


def training(checkpoint: dict[str, Any]) -> str:
    """Return the checkpoint that was tested, and the cost of its training."""
    seconds = checkpoint["cpu_seconds"]
    minutes = f", {seconds / 60:.0f} CPU min" if seconds else ""
    return f"{checkpoint['steps']:,} steps{minutes}, {Path(checkpoint['path']).stem}"


def learning(run: Path, score: str, scale: int, digits: int) -> str:
    """The score in meta-validation at six moments, from the run's events; empty where they are gone."""
    points = curve(run, f"meta_val/{score}")
    values = [points[step] for step in sorted(points)]
    chosen = [values[(k + 1) * len(values) // 6 - 1] for k in range(6)] if len(values) > 6 else values
    return " ".join(f"{scale * value:.{digits - 1}f}" for value in chosen)


def curve(run: Path, tag: str) -> dict[int, float]:
    """The values that a run logged by this name, at each step."""
    points: dict[int, float] = {}
    for file in sorted(run.glob("events*")):
        events = EventAccumulator(str(file)).Reload()
        if tag in events.Tags()["scalars"]:
            points |= {event.step: event.value for event in events.Scalars(tag)}
    return points


if __name__ == "__main__":
    main()
