"""The packages that lightning-meta needs: installed, of a version that fits, and importable."""

import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version

from lightning_meta.machine.finding import Finding, Level
from lightning_meta.machine.probe import Probed

OURS = "lightning-meta"
EXTRAS = {
    "search": "`tune`",
    "ray-jobs": "`submit ray`",
    "kubernetes": "`submit kubernetes`",
    "s3": "data at s3:// addresses",
    "vision": "backbones of torchvision",
    "rl": "the worlds of MuJoCo",
}
WHEELS = "https://download.pytorch.org/whl/cpu"
INSTALL = {  # what suits better than `pip install NAME`
    "torch": f"pip install torch (on a machine without a GPU: pip install torch --index-url {WHEELS})"
}


def installed(name: str) -> str | None:
    """Return the version of a distribution; None where it is not installed or does not say."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def versions() -> Iterator[Finding]:
    """Yield this Python and this lightning-meta."""
    yield Finding("Python", f"{platform.python_version()}, {platform.platform(terse=True)}, {platform.machine()}")
    ours = installed(OURS)
    if ours is None:
        yield Finding(OURS, "not installed", "error", "pip install lightning-meta, or pip install -e . in a checkout")
    else:
        yield Finding(OURS, ours)


def required(probed: Probed) -> Iterator[Finding]:
    """Yield the packages without which nothing runs."""
    for name, allowed in requirements(None):
        yield package(name, allowed, "error", probed.get("broken", {}))


def optional(probed: Probed) -> Iterator[Finding]:
    """Yield the packages of each extra; absent ones matter to some commands only, wrong versions may fail."""
    for extra, use in EXTRAS.items():
        listed = requirements(extra)
        absent = [name for name, _ in listed if installed(name) is None]
        if absent:
            remedy = f"for {use}: pip install '{OURS}[{extra}]'"
            yield Finding(f"[{extra}]", f"without {', '.join(absent)}", "note", remedy)
        for name, allowed in listed:
            if name not in absent:
                yield package(name, allowed, "warning", probed["broken"])


def package(name: str, allowed: str, level: Level, broken: dict[str, str]) -> Finding:
    """Return what there is to say about a package.

    Args:
        name: The distribution's name.
        allowed: The versions that lightning-meta takes, such as `>=2.6,<2.7`; empty for any.
        level: How much an absent package or one of another version matters.
        broken: The packages that cannot be imported, with the reason.
    """
    found, why = installed(name), broken.get(name.replace("-", "_"))
    if why is not None and name == "torchvision":  # the reason ends with the remedy
        fact, _, remedy = why.partition(": pip ")
        return Finding(name, fact, "error", f"pip {remedy}" if remedy else "pip uninstall torchvision")
    if found is None:
        return Finding(name, "not installed", level, INSTALL.get(name, f"pip install '{name}{allowed}'"))
    if why is not None:
        remedy = f"pip install --force-reinstall '{name}=={found.partition('+')[0]}'"
        return Finding(name, f"{found} cannot be imported: {why}", "error", remedy)
    if not fits(found, allowed):
        return Finding(name, f"{found}, and it should be {allowed}", level, f"pip install '{name}{allowed}'")
    return Finding(name, found)


def requirements(extra: str | None) -> list[tuple[str, str]]:
    """Return the names and versions that lightning-meta's own metadata ask for: of an extra, or without any."""
    from packaging.requirements import Requirement  # torchmetrics and others need it

    try:
        parsed = [Requirement(line) for line in requires(OURS) or []]
    except PackageNotFoundError:
        return []
    # a marker that holds without an extra belongs to no extra
    plain = [one for one in parsed if one.marker is None or one.marker.evaluate({"extra": ""})]
    wanted = [one for one in parsed if one.marker and one.marker.evaluate({"extra": extra})] if extra else plain
    listed = [one for one in wanted if not (extra and one in plain) and one.name != OURS]
    return [(one.name, str(one.specifier)) for one in listed]


def fits(found: str, allowed: str) -> bool:
    """Return whether a version is allowed. A pre-release of an allowed version is allowed too."""
    from packaging.specifiers import SpecifierSet

    return SpecifierSet(allowed).contains(found, prereleases=True)
