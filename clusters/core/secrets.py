"""Secrets, recognised by the name of a variable or the form of a value."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

SECRET_NAME = re.compile(
    r"(^|_)(TOKEN|SECRET|PASS|PASSWORD|PASSWD|PASSPHRASE|PWD|KEY|PAT|CREDENTIALS?|CREDS?|AUTH|AUTHORIZATION|BEARER|JWT|COOKIE"
    r"|DSN|WEBHOOK|CONN(ECTION)?_?STR(ING)?)(_|$)|(TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|APIKEY|COOKIE|JWT)$"
    r"|(SSH|PG|DB|SQL|SMTP|LDAP|REDIS|MONGO)_?(PASS|PWD)$",
    re.IGNORECASE,
)
# in settings, a bare `key` is as often the key of a dictionary or the field of a sample
COLUMN = re.compile(r"^(?!.*(API|ACCESS|SECRET|PRIVATE|ACCOUNT)_?KEY$).*KEY$", re.IGNORECASE)
HARMLESS = re.compile(r"^(OLD)?PWD$|_(PATH|FILE|DIR|MODE)$", re.IGNORECASE)  # the place of a secret, not its value
SECRET_VALUE = re.compile(
    r"://[^/@\s]*:[^/@\s]+@|-----BEGIN [A-Z ]*PRIVATE KEY|\bBearer\s+\S{8}|\b(Account|SharedAccess)Key=|\bAKIA[0-9A-Z]{16}\b"
    r"|\b(gh[pousr]_|github_pat_|glpat-|hf_|sk-|xox[abps]-)[A-Za-z0-9_-]{16}|\beyJ[\w-]{8,}\.eyJ[\w-]{8,}\."
)


def is_secret(name: str, value: str = "") -> bool:
    """Return whether a variable looks like a secret, which must not be written where others can read it."""
    return bool((SECRET_NAME.search(name) and not HARMLESS.search(name)) or SECRET_VALUE.search(value))


def secret_arguments(command: Sequence[str]) -> Iterator[str]:
    """Yield the options of a command line that carry a secret: --token=X, --trainer.logger.init_args.api_key X."""
    for word, following in zip(command, (*command[1:], ""), strict=True):
        option, equals, value = word.partition("=")
        given = value if equals else "" if following.startswith("--") else following
        name = option.rpartition(".")[2].lstrip("-").replace("-", "_")
        if (option.startswith("-") and _holds_secret(name, given)) or SECRET_VALUE.search(word):
            yield option if option.startswith("-") else "an argument"


def secret_settings(node: Any, path: str = "") -> Iterator[str]:
    """Yield the keys of a configuration that carry a secret, such as trainer.logger.init_args.api_key."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield from secret_settings(value, f"{path}.{key}".lstrip("."))
    elif isinstance(node, list):
        for i, value in enumerate(node):
            yield from secret_settings(value, f"{path}[{i}]")
    elif isinstance(node, str) and (
        SECRET_VALUE.search(node) or (len(node) >= 8 and _holds_secret(path.rpartition(".")[2], node))
    ):
        yield path


def _holds_secret(name: str, value: str) -> bool:
    """Return whether a setting of this name holds a secret; a number, or yes or no, is not one."""
    plain = re.fullmatch(r"[-+\d.eE]*|true|false|null|none", value, re.IGNORECASE)
    return not plain and not COLUMN.search(name) and is_secret(name, value)
