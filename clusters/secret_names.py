"""Which environment variables look like secrets, by their name or a password in a URL."""

import re

NAME = re.compile(
    r"(^|_)(TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|KEY|PAT|CREDENTIALS?)(_|$)|(TOKEN|SECRET|PASSWORD|PASSWD|APIKEY)$",
    re.IGNORECASE,
)
VALUE = re.compile(r"://[^/@\s]*:[^/@\s]+@|-----BEGIN [A-Z ]*PRIVATE KEY")


def is_secret(name: str, value: str = "") -> bool:
    """Whether the variable is better not written into anything that others read."""
    return bool(NAME.search(name) or VALUE.search(value))
