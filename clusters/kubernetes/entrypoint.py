"""Run the command that a RayJob's environment holds: python -m clusters.kubernetes.entrypoint.

KubeRay puts a RayJob's entrypoint, unquoted, into a shell line, whose words `ray job submit` joins to another one. This
entrypoint has nothing to quote: what to run is in the container's environment, where no shell reads it.
LIGHTNING_META_COMMAND is a JSON list of arguments, and LIGHTNING_META_SETUP holds the lines for bash to run before.
"""

import json
import os

from clusters.core.setup_lines import with_setup


def main() -> None:
    """Become the command."""
    command = json.loads(os.environ["LIGHTNING_META_COMMAND"])
    words = with_setup(command, os.environ.get("LIGHTNING_META_SETUP", "").splitlines())
    os.execvp(words[0], words)


if __name__ == "__main__":
    main()
