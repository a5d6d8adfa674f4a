"""Run the command that a RayJob's environment holds: python -m clusters.kubernetes.entrypoint.

KubeRay puts a RayJob's entrypoint, unquoted, into a shell line, whose words `ray job submit` joins to another one. This
entrypoint has nothing to quote; what to run is in the container's environment, where no shell reads it:
LIGHTNING_META_COMMAND, a JSON list of arguments, and LIGHTNING_META_SETUP, lines for bash to run before.
"""

import json
import os

from clusters.core.quoting import guarded


def main() -> None:
    command = json.loads(os.environ["LIGHTNING_META_COMMAND"])
    words = wrapped(command, os.environ.get("LIGHTNING_META_SETUP", "").splitlines())
    os.execvp(words[0], words)


def wrapped(command: list[str], setup: list[str]) -> list[str]:
    """The argument list that runs the set-up lines, stops where one fails, and then becomes the command."""
    return ["bash", "-c", "\n".join([*guarded(setup, 0), 'exec "$@"']), "bash", *command] if setup else command


if __name__ == "__main__":
    main()
