"""The returns of hand-designed strategies beside the papers' figures and trained agents, on the same tasks and random numbers.

    python tools/compare_strategies.py [bandits mdps two_arms] [--arms 5 10] [--pulls 10 100] [--episodes 10 25]
        [--strategies UCB1 Gittins] [--tasks 2000] [--seed 0] [--checkpoint CKPT ...] [--json] [--quick]

`bandits` and `mdps` are tables 1 and 2 of Duan et al. 2016 (arXiv:1611.02779): all rewards of a trial. `two_arms` are the
bandits of Wang et al. 2016 (arXiv:1611.05763), whose figures are curves: the regret of 100 pulls, that is, how much more the
best arm would have paid as expected than the arms that were pulled. Mean over tasks +- 95 % interval.

The tasks and their random numbers are those of `lightning-meta test` with the same data.seed and data.test_tasks. A
strategy with a number to choose has the one of a grid that did best on other tasks, the first of the validation split (the
paper chose on the tasks that it reports). In `mdps` the paper's strategies expected an action to pay 0 before it is tried,
where the tasks' prior says 1; the rows "true prior" have that.

A checkpoint of an agent that learns within a trial, such as RL2, has its row in the table of the world that it was trained in;
one that was trained on two arms, a row for each kind of odds.
"""

import argparse
import json
import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch

import torch
from published import BANDITS, MDPS
from torch import Tensor

from datamodules.worlds import Worlds
from lightning_meta.core import InputError, MDPs, MetaRLLearner, Policy, Trajectory, World
from lightning_meta.envs import Bandits, TabularMDPs, TwoArms
from lightning_meta.nn.build import find
from lightning_meta.rl import MemoryBased
from lightning_meta.rl.strategies import bandits, tabular
from lightning_meta.training.checkpoint import load, read

BATCH = 500  # tasks per rollout; no figure depends on it


class Entrant(NamedTuple):
    """A strategy: `make` takes decision processes and, where there is one to choose, a number of the grid."""

    name: str
    make: Callable[..., Policy]
    number: str = ""  # what the number is called
    grid: tuple[float, ...] = ()


class Setting(NamedTuple):
    """A column of a table: a world, how many episodes a trial has, and what was published."""

    name: str
    world: World
    episodes: int
    published: dict[str, float]


class Figure(NamedTuple):
    """A cell."""

    setting: str
    strategy: str
    paper: float | None
    mean: float
    ci95: float
    chosen: str
    seconds: float  # of CPU, choosing included


def bandit_entrants(pulls: int) -> list[Entrant]:
    strategies = bandits
    return [
        Entrant("Random", strategies.Random),
        Entrant("Gittins", partial(gittins, pulls), "gamma", (0.8, 0.9, 0.95, 0.98, 0.99, 1.0)),
        Entrant("Thompson", strategies.Thompson),
        Entrant("Optimistic Thompson", strategies.Thompson, "samples", (5, 10, 20)),
        Entrant("UCB1", strategies.UCB1, "c", (0.1, 0.2, 0.3, 0.4)),
        Entrant("Epsilon-greedy", strategies.Greedy, "epsilon", (0.0, 0.1, 0.2)),
        Entrant("Greedy", strategies.Greedy),
        Entrant("Win-stay-lose-shift", strategies.WinStayLoseShift),
        Entrant("Oracle, told the task", strategies.Oracle),
    ]


def gittins(pulls: int, mdps: MDPs, gamma: float) -> Policy:
    return bandits.Gittins(mdps, pulls, gamma)


def mdp_entrants() -> list[Entrant]:
    strategies = tabular
    tuned = [
        Entrant("PSRL", strategies.PSRL),
        Entrant("Optimistic PSRL", strategies.PSRL, "samples", (5, 10, 20)),
        Entrant("UCRL2", strategies.UCRL2, "scale", (0.025, 0.05, 0.07, 0.1, 0.2)),
        Entrant("BEB", strategies.BEB, "bonus", (1.0, 2.0, 3.0, 4.0, 6.0)),
        Entrant("Epsilon-greedy", strategies.Greedy, "epsilon", (0.1, 0.2, 0.3)),
        Entrant("Greedy", strategies.Greedy),
    ]
    as_published = [one._replace(make=partial(one.make, prior_mean=0.0)) for one in tuned]
    true_prior = [one._replace(name=f"{one.name}, true prior") for one in tuned]
    oracle = Entrant("Oracle, told the task", strategies.Oracle)
    return [Entrant("Random", strategies.Random), *as_published, *true_prior, oracle]


def settings(table: str, args: argparse.Namespace) -> Iterator[tuple[Setting, list[Entrant]]]:
    if table == "bandits":
        for (pulls, arms), published in BANDITS.items():
            if pulls in args.pulls and arms in args.arms:
                world = Bandits(arms, pulls)
                yield Setting(f"{arms} arms, {pulls} pulls", world, 1, published), bandit_entrants(pulls)
    elif table == "mdps":
        for episodes, published in MDPS.items():
            if episodes in args.episodes:
                yield Setting(f"{episodes} episodes", TabularMDPs(), episodes, published), mdp_entrants()
    else:
        for odds in ("independent", "uniform", "easy", "medium", "hard"):
            yield Setting(odds, TwoArms(odds), 1, {}), bandit_entrants(100)


def tasks(setting: Setting, split: str, count: int, seed: int) -> list[MDPs]:
    """So many tasks of a split, the same for every strategy."""
    data = Worlds(setting.world, BATCH, val_tasks=count, test_tasks=count, seed=seed)
    return list(data.streams(split)[0])


def judged(setting: Setting, meetings: list[MDPs], start: Callable[[MDPs], Policy]) -> Tensor:
    """The score of each task."""
    with torch.no_grad():
        return torch.cat([score(mdps, roll_out(setting, mdps, start(mdps))) for mdps in meetings])


def roll_out(setting: Setting, mdps: MDPs, policy: Policy) -> Trajectory:
    return mdps.rollout(policy, episodes=setting.episodes, purpose="trial")[0]


def score(mdps: MDPs, trajectory: Trajectory) -> Tensor:
    """Return the sum of rewards of each task, or for two arms the regret: [tasks]."""
    if isinstance(mdps.world, TwoArms):
        return (mdps.task.amax(1, keepdim=True) - mdps.task.gather(1, trajectory.action[:, 0])).sum(1)
    return trajectory.reward[:, 0].sum(1)


def measure(setting: Setting, entrant: Entrant, args: argparse.Namespace) -> Figure:
    start, make, chosen = time.process_time(), entrant.make, ""
    if entrant.grid:
        other, sign = tasks(setting, "val", args.choose, args.seed), -1 if isinstance(setting.world, TwoArms) else 1
        makes = {number: partial(number_of(entrant.make), number) for number in entrant.grid}
        best = max(makes, key=lambda number: sign * float(judged(setting, other, makes[number]).mean()))
        make, chosen = makes[best], f"{entrant.number} {best:g}"
    found = judged(setting, tasks(setting, "test", args.tasks, args.seed), make)
    return figure(setting, entrant.name, setting.published.get(entrant.name), found, chosen, start)


def number_of(make: Callable[..., Policy]) -> Callable[[float, MDPs], Policy]:
    return lambda number, mdps: make(mdps, number)


def figure(setting: Setting, name: str, paper: float | None, found: Tensor, chosen: str, start: float) -> Figure:
    ci95 = 1.96 * float(found.std()) / len(found) ** 0.5
    seconds = time.process_time() - start
    return Figure(setting.name, name, paper, float(found.mean()), ci95, chosen, seconds)


class Trained(NamedTuple):
    """An agent of a checkpoint and the world that it was trained in."""

    path: str
    agent: MetaRLLearner
    world: World

    @classmethod
    def load(cls, path: str) -> "Trained":
        """Raises InputError unless it learns within a trial."""
        agent, parameters = load(path), read(path)["hyper_parameters"]
        if not (isinstance(agent, MemoryBased)):
            raise InputError(
                f"{path} holds {type(agent).__name__}: give checkpoints of agents that learn within a trial"
            )
        data: dict[str, Any] = (parameters.get("data") or {}).get("init_args") or {}
        if not data.get("world"):
            raise InputError(
                f"{path} does not say which world it was trained in: give one that `lightning-meta fit` wrote"
            )
        kind = find(data["world"]["class_path"])
        if not (isinstance(kind, type) and issubclass(kind, World)):
            raise InputError(
                f"{path} was trained in {data['world']['class_path']}, which is no world that Python finds"
            )
        return cls(path, agent, kind(**(data["world"].get("init_args") or {})))

    def belongs(self, setting: Setting) -> bool:
        """Return whether it can live there: in two arms of any odds, whichever of them it was trained on."""
        own, other = ({**vars(world), "odds": None} for world in (self.world, setting.world))
        same = type(self.world) is type(setting.world) and own == other
        return same and getattr(self.agent, "episodes", 1) == setting.episodes

    def measure(self, setting: Setting, args: argparse.Namespace) -> Figure:
        start, body = time.process_time(), type(getattr(self.agent, "sequence", None)).__name__
        paper = setting.published.get("SNAIL" if body == "SNAIL" else type(self.agent).__name__)
        found = judged(setting, tasks(setting, "test", args.tasks, args.seed), self.agent.prior)
        where = f"trained on {self.world.odds} arms" if isinstance(self.world, TwoArms) else "here"
        return figure(setting, f"{type(self.agent).__name__} of {body}, {where}", paper, found, self.path, start)


def main() -> None:
    args = arguments()
    torch.set_num_threads(1)
    trained = [Trained.load(path) for path in args.checkpoint]
    plan = {table: list(settings(table, args)) for table in args.tables}
    columns = [setting for columns in plan.values() for setting, _ in columns]
    for one in trained:
        if not any(one.belongs(setting) for setting in columns):
            raise InputError(f"{one.path} was trained in a world of none of the tables asked for: {', '.join(plan)}")
    start, tables = time.process_time(), {}
    for table, rows in plan.items():
        tables[table] = []
        if not args.json:
            what = "regret" if table == "two_arms" else "return"
            print(f"\n{table}, {args.tasks} tasks, seed {args.seed}\n")
            print(f"| setting | strategy | paper | {what} | chosen |\n|---|---|---|---|---|")
        for setting, entrants in rows:
            entrants = [one for one in entrants if args.strategies is None or one.name.split(",")[0] in args.strategies]
            own = [partial(one.measure, setting, args) for one in trained if one.belongs(setting)]
            for cell in [*(partial(measure, setting, entrant, args) for entrant in entrants), *own]:
                found = cell()
                tables[table].append(found)
                if not args.json:
                    print(row(found), flush=True)
            for name in ("RL2", "SNAIL") if not args.json else ():
                if name in setting.published:
                    print(f"| {setting.name} | {name}, as published | {setting.published[name]} | | |", flush=True)
    seconds = time.process_time() - start
    if args.json:
        cells = {table: [found._asdict() for found in figures] for table, figures in tables.items()}
        print(json.dumps({"tasks": args.tasks, "seed": args.seed, "cpu_seconds": seconds, **cells}, indent=1))
    else:
        print(f"\n{seconds:.0f} s of CPU")


def row(found: Figure) -> str:
    digits = 2 if found.mean < 100 else 1
    paper = "" if found.paper is None else f"{found.paper}"
    mean = f"{found.mean:.{digits}f} +- {found.ci95:.{digits}f}"
    return f"| {found.setting} | {found.strategy} | {paper} | {mean} | {found.chosen} |"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    tables = ["bandits", "mdps", "two_arms"]
    parser.add_argument("tables", nargs="*", metavar="TABLE", help=f"of {', '.join(tables)}; all by default")
    parser.add_argument("--arms", type=int, nargs="+", default=[5, 10, 50])
    parser.add_argument("--pulls", type=int, nargs="+", default=[10, 100, 500])
    parser.add_argument("--episodes", type=int, nargs="+", default=[10, 25, 50, 75, 100])
    parser.add_argument("--strategies", nargs="*", metavar="NAME", help="only these, or none; up to the comma")
    parser.add_argument("--tasks", type=int, default=2000, help="of a figure")
    parser.add_argument("--choose", type=int, default=1000, help="tasks on which a number of a strategy is chosen")
    parser.add_argument("--seed", type=int, default=0, help="of the tasks")
    parser.add_argument("--checkpoint", nargs="+", default=[], metavar="CKPT")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true", help="50 tasks, the shortest trials: whether it runs")
    args = parser.parse_args()
    args.tables = args.tables or tables
    if unknown := set(args.tables) - set(tables):
        parser.error(f"no table {', '.join(sorted(unknown))}: give some of {', '.join(tables)}")
    entrants = {"bandits": bandit_entrants(1), "mdps": mdp_entrants(), "two_arms": bandit_entrants(1)}
    names = {one.name.split(",")[0] for table in args.tables for one in entrants[table]}
    if unknown := set(args.strategies or []) - names:
        parser.error(f"no strategy {', '.join(sorted(unknown))}: give some of {', '.join(sorted(names))}")
    if args.quick:
        args.tasks = args.choose = 50
        args.arms, args.pulls, args.episodes = [5], [10], [10]
    if min(args.tasks, args.choose) < 2:
        parser.error(f"tasks {args.tasks}, choose {args.choose}: give 2 or more")
    return args


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        raise SystemExit(f"compare_strategies.py: {error}") from None
