"""Settings that a profile may hold: their types, their meanings, and the one check of them all."""

import difflib
from collections.abc import Mapping
from typing import Any, NamedTuple

from clusters.core.job import JobError

TYPES = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    list: "a list",
    dict: "keys and values",
}


class Option(NamedTuple):
    """A setting that a profile may hold.

    Attributes:
        type: The type that YAML must give it, one of TYPES, or several of them.
        meaning: What it sets, for `--help` and for error messages, with the default.
        choices: The legal values, if there are only a few.
    """

    type: type | tuple[type, ...]
    meaning: str
    choices: tuple[str, ...] = ()


def check_options(settings: Mapping[str, Any], legal: Mapping[str, Option], backend: str, where: str = "") -> None:
    """Check the names, types and values of settings.

    Args:
        settings: Values by name. None counts as not given.
        legal: The options that there are, by name.
        backend: The name of the back end, for messages.
        where: What precedes a message, such as "profile big in profiles.yaml: ".

    Raises:
        JobError: A name is not one of `legal`, or a value is not of its option's type or among its choices.
    """
    for name, value in settings.items():
        if name not in legal:
            close = difflib.get_close_matches(str(name), legal, 1)
            hint = f"did you mean {close[0]}?" if close else f"give one of {', '.join(legal)}"
            raise JobError(f"{where}{name!r} is not an option of {backend}: {hint}")
        option = legal[name]
        if value is None:
            continue
        types = option.type if isinstance(option.type, tuple) else (option.type,)
        if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            kinds = " or ".join(TYPES[each] for each in types)
            raise JobError(f"{where}{name} is {value!r}: give {kinds} ({option.meaning})")
        if option.choices and value not in option.choices:
            raise JobError(f"{where}{name} is {value!r}: give {' or '.join(option.choices)} ({option.meaning})")
