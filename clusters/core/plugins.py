"""Back ends, found by their entry points in the group `lightning_meta.backends`."""

import traceback
from importlib.metadata import EntryPoint, entry_points

from clusters.core.backend import Backend
from clusters.core.job import JobError

GROUP = "lightning_meta.backends"


def backend_names() -> list[str]:
    """Return the names of the installed back ends, sorted. Imports none of them."""
    return sorted(entry_points(group=GROUP).names)


def load_backend(name: str) -> Backend:
    """Return the back end of a name; imports only that one.

    Raises:
        JobError: There is none of that name, there are two, or it cannot be imported.
    """
    entries = list(entry_points(group=GROUP, name=name))
    if not entries:
        names = ", ".join(backend_names())
        remedy = f"choose from {names}" if names else "none is installed: install lightning-meta with pip"
        raise JobError(f"{name!r} is not a back end: {remedy}")
    if len(entries) > 1:
        raise JobError(
            f"{name!r} is a back end of {' and of '.join(map(distribution, entries))}: uninstall all but one"
        )
    return _load(entries[0])


def load_backends() -> tuple[dict[str, Backend], list[str]]:
    """Return all back ends that can be imported, by name, and one message about each of the others."""
    backends, problems = {}, []
    for name in backend_names():
        try:
            backends[name] = load_backend(name)
        except JobError as error:
            problems.append(str(error))
    return backends, problems


def distribution(entry: EntryPoint) -> str:
    """Return the name and the version of the distribution that an entry point belongs to."""
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else "an unknown distribution"


def stranger_at_fault(error: Exception) -> str | None:
    """Return a message about the back end of another package in whose method an error arose; None if it was in none."""
    for frame, _ in reversed(list(traceback.walk_tb(error.__traceback__))):
        backend = frame.f_locals.get("self")
        if isinstance(backend, Backend) and type(backend).__module__.partition(".")[0] != __name__.partition(".")[0]:
            owners = " and ".join(map(distribution, entry_points(group=GROUP, name=backend.name)))
            return (
                f"the back end {backend.name} of {owners} failed in {frame.f_code.co_name} ({one_line(error)}): update it, or"
                " report it to its authors with the traceback, which LIGHTNING_META_DEBUG=1 shows"
            )
    return None


def one_line(error: Exception) -> str:
    """Return the type and the message of an error, in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


def _load(entry: EntryPoint) -> Backend:
    try:
        backend = entry.load()()
    except Exception as error:  # a stranger's module may fail in any way
        raise JobError(
            f"the back end {entry.name} of {distribution(entry)} cannot be loaded ({one_line(error)}): install what it lacks,"
            " or update or uninstall it"
        ) from error
    if not isinstance(backend, Backend) or getattr(backend, "name", None) != entry.name:
        raise JobError(
            f"the back end {entry.name} of {distribution(entry)} is {entry.value}, which is not a Backend of that name: update"
            " or uninstall it"
        )
    return backend
