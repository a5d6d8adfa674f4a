"""Backbones whose arguments are of every kind that a class of a user's may have: [n, 1, 28, 28] -> [n, 8]."""

import dataclasses
import enum
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from users_backbones import Own


class Kind(enum.Enum):
    SMALL = "s"
    LARGE = "l"


@dataclasses.dataclass
class Inner:
    sizes: tuple[int, ...] = (1, 2)
    where: Path = Path("nowhere")
    kind: Kind = Kind.SMALL


@dataclasses.dataclass
class Settings:
    scale: float = 1.0
    inner: Inner = dataclasses.field(default_factory=Inner)


class Pair(NamedTuple):
    low: int = 0
    high: int = 1


def double(x: Tensor) -> Tensor:
    """An activation of the user's own."""
    return 2 * x


def nothing() -> nn.Module:  # type: ignore[return]
    """Forgets to return its module."""


def norm_of(n: int) -> nn.Module:
    """A layer of the user's own choice."""
    return nn.LayerNorm(n)


class Activated(Own):
    def __init__(self, act: Callable[[Tensor], Tensor] = F.relu):
        super().__init__()
        self.act = act

    def after(self, z: Tensor) -> Tensor:
        return self.act(z)


class Unannotated(Own):
    def __init__(self, act=torch.tanh, sizes=(1, 2), kind=Kind.LARGE):
        super().__init__()
        assert isinstance(sizes, tuple)
        assert isinstance(kind, Kind)
        self.act = act

    def after(self, z: Tensor) -> Tensor:
        return self.act(z)


class Normed(Own):
    def __init__(self, norm: Callable[[int], nn.Module] = nn.BatchNorm1d):
        super().__init__()
        self.norm = norm(8)

    def after(self, z: Tensor) -> Tensor:
        return self.norm(z)


class OfClass(Normed):
    def __init__(self, norm: type[nn.Module] = nn.BatchNorm1d, **more: object):
        super().__init__(norm, **more)


class Forwards(Normed):
    """Arguments of its base class, by its name alone."""

    def __init__(self, gain: complex = 1j, **others):
        super().__init__(**others)
        assert isinstance(gain, complex)


class Typed(Own):
    def __init__(
        self,
        kind: Kind = Kind.SMALL,
        kinds: list[Kind] | None = None,
        place: Path = Path("nowhere"),
        sizes: tuple[int, ...] = (784, 8),
        some: set[int] | None = None,
        dtype: torch.dtype = torch.float32,
        device: torch.device = torch.device("cpu"),  # noqa: B008
        settings: Settings = Settings(),  # noqa: B008
        pair: Pair = Pair(),  # noqa: B008
        by_number: dict[int, tuple[int, int]] | None = None,
        text: int | str = "3",
        maker: Callable[[Tensor], Tensor] = lambda x: x,
    ):
        super().__init__()
        self.seen = (kind, kinds, sizes, some, dtype, device, settings, pair, text, by_number)
        self.to(device, dtype)
        assert callable(maker)
        assert isinstance(place, Path)
        assert isinstance(settings.inner, Inner)
        assert isinstance(by_number, dict | None)


class Parts(Own):
    def __init__(self, parts: nn.ModuleList, named: nn.ModuleDict | None = None):
        super().__init__()
        self.parts, self.named = parts, named

    def after(self, z: Tensor) -> Tensor:
        for part in self.parts:
            z = part(z)
        return self.named["last"](z) if self.named else z


class Orthogonal(Own):
    def __init__(self):
        super().__init__()
        self.linear = parametrizations.orthogonal(self.linear)


class Compiled(Own):
    def __init__(self):
        super().__init__()
        self.part = torch.jit.script(nn.Linear(8, 8))

    def after(self, z: Tensor) -> Tensor:
        return self.part(z)


class Late(Own):
    """Registers a buffer in its first pass."""

    def after(self, z: Tensor) -> Tensor:
        if not hasattr(self, "position"):
            self.register_buffer("position", torch.ones(8))
        return z * self.get_buffer("position")


class Wide(Own):
    """Is as large as it is told to be, and parametrized."""

    def __init__(self, width: int = 8):
        super().__init__()
        self.other = parametrizations.orthogonal(nn.Linear(8, width))
