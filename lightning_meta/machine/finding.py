"""A fact about this machine, how much it matters, and the remedy."""

from typing import Literal, NamedTuple

Level = Literal["ok", "note", "warning", "error"]


class Finding(NamedTuple):
    """A fact about this machine.

    Attributes:
        subject: What was looked at, such as `torch`.
        fact: What was found, such as its version.
        level: `ok`; `note` for something absent that only some commands need; `warning` for something that may fail later;
            `error` for something broken that a command needs.
        remedy: What to do about it, in one line; empty where there is nothing to do.
    """

    subject: str
    fact: str
    level: Level = "ok"
    remedy: str = ""

    def text(self, width: int) -> str:
        """Return the finding for the screen, its subject padded to a width, and the remedy on a line of its own."""
        line = f"  {'' if self.level == 'ok' else self.level:9}{self.subject:{width}}  {self.fact}".rstrip()
        return line + (f"\n  {'':9}{'':{width}}  -> {self.remedy}" if self.remedy else "")


def size_text(size: int | float) -> str:
    """Return a number of bytes as text: 512 MiB, 1.2 GiB, 24 GiB."""
    if size < 2**30:
        return f"{size / 2**20:.0f} MiB"
    gibibytes = size / 2**30
    return f"{gibibytes:.1f} GiB" if gibibytes < 10 else f"{gibibytes:.0f} GiB"
