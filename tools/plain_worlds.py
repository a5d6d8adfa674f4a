"""Worlds as one writes them without a library, one environment an object: the peers of `bench_worlds.py`."""

from abc import ABC, abstractmethod

import numpy as np

from lightning_meta.envs import Bandits, IMaze, Navigation, PointRobot, TabularMDPs, TwoArms


class Plain(ABC):
    """One environment with a task of its own. `act` takes a random action, and begins again where an episode ends."""

    horizon: int

    def __init__(self, rng: np.random.Generator):
        self.rng, self.age = rng, 0
        self.draw()
        self.reset()

    def act(self) -> tuple[np.ndarray, float, bool]:
        """Observation, reward, and whether the episode ended."""
        seen, reward, terminated = self.step()
        self.age += 1
        done = terminated or self.age >= self.horizon
        if done:
            self.age = 0
            self.reset()
        return seen, reward, done

    @abstractmethod
    def draw(self) -> None: ...

    @abstractmethod
    def reset(self) -> None: ...

    @abstractmethod
    def step(self) -> tuple[np.ndarray, float, bool]: ...


class Arms(Plain):
    """Five Bernoulli arms, nothing to see."""

    horizon, arms = 10, 5

    def draw(self) -> None:
        self.chances = self.rng.random(self.arms)

    def reset(self) -> None: ...

    def step(self) -> tuple[np.ndarray, float, bool]:
        arm = self.rng.integers(self.arms)
        return np.zeros(0), float(self.rng.random() < self.chances[arm]), False


class Pair(Arms):
    """Two of them, with the time to see."""

    horizon, arms = 100, 2

    def step(self) -> tuple[np.ndarray, float, bool]:
        _, reward, _ = super().step()
        return np.array([self.age / self.horizon]), reward, False


class Table(Plain):
    """Ten states and five actions."""

    horizon = 10

    def draw(self) -> None:
        self.odds = self.rng.dirichlet(np.ones(10), (10, 5)).cumsum(-1)
        self.means = self.rng.normal(1, 1, (10, 5))

    def reset(self) -> None:
        self.at = 0

    def step(self) -> tuple[np.ndarray, float, bool]:
        action = self.rng.integers(5)
        reward = self.means[self.at, action] + self.rng.normal()
        self.at = min(int(np.searchsorted(self.odds[self.at, action], self.rng.random())), 9)
        seen = np.zeros(10)
        seen[self.at] = 1
        return seen, reward, False


class Walk(Plain):
    """A point on its way to a goal in the square."""

    horizon = 100

    def draw(self) -> None:
        self.goal = self.rng.random(2) - 0.5

    def reset(self) -> None:
        self.place = np.zeros(2)

    def step(self) -> tuple[np.ndarray, float, bool]:
        self.place = self.place + 0.1 * np.clip(2 * self.rng.random(2) - 1, -1, 1)
        off = self.place - self.goal
        return self.place, -float(np.sqrt((off**2).sum())), bool((np.abs(off) < 0.01).all())


class Robot(Walk):
    """The same to a goal on the circle, with reward near it only."""

    horizon = 20

    def draw(self) -> None:
        angle = np.pi * self.rng.random()
        self.goal = np.array([np.cos(angle), np.sin(angle)])

    def step(self) -> tuple[np.ndarray, float, bool]:
        seen, reward, _ = super().step()
        return seen, 1 + reward if reward >= -0.2 else 0.0, False


class Corridor(Plain):
    """The I-maze of two alcoves, three cells long."""

    horizon, length = 20, 3

    def draw(self) -> None:
        self.side = 1 if self.rng.random() < 0.5 else -1

    def reset(self) -> None:
        self.row = self.column = 0

    def step(self) -> tuple[np.ndarray, float, bool]:
        way = self.rng.integers(4)
        if way < 2 and self.column == 0:
            self.row = min(max(self.row + (1 if way == 0 else -1), 0), self.length)
        elif way >= 2 and self.row in (0, self.length):
            self.column = min(max(self.column + (1 if way == 3 else -1), -1), 1)
        ended = self.column != 0 and self.row == self.length
        reward = (1 if self.column == self.side else -1) * ended - 1 / self.horizon
        bar, middle, here = self.row in (0, self.length), self.column == 0, self.row == 0 and self.column == 0
        ways = [middle and self.row < self.length, middle and self.row > 0, bar and self.column > -1]
        ways += [bar and self.column < 1, here and self.side < 0, here and self.side > 0]
        return np.array(ways, float), reward, ended


PLAIN: dict[type, type[Plain]] = {
    Bandits: Arms,
    TwoArms: Pair,
    TabularMDPs: Table,
    Navigation: Walk,
    PointRobot: Robot,
    IMaze: Corridor,
}
