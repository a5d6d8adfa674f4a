"""Settings of a site under a name, in one YAML file."""

import os
from pathlib import Path
from typing import Any

import yaml

from clusters.core.job import JobError

JOB = {  # keys that are a job's own, and what they hold
    "nodes": int,
    "gpus_per_node": int,
    "cpus_per_task": int,
    "memory": str,
    "time": str,
    "max_restarts": int,
    "environment": dict,
    "setup": list,
    "passthrough": list,
}
OWN = {  # keys that only one back end knows
    "slurm": {
        "python": str,
        "account": str,
        "partition": str,
        "qos": str,
        "constraint": str,
        "reservation": str,
        "signal_seconds": int,
        "master_addr": str,
        "object_store_memory": int,
    },
    "local": {"python": str},
}


def file() -> Path:
    """LIGHTNING_META_PROFILES, or profiles.yaml in the configuration folder of XDG."""
    if chosen := os.environ.get("LIGHTNING_META_PROFILES"):
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config", "lightning-meta", "profiles.yaml").expanduser()


def profile(name: str, backend: str) -> dict[str, Any]:
    """The settings of a profile for a back end. Keys of back ends that are not in OWN are for those to judge."""
    path = file()
    try:
        content = yaml.safe_load(path.read_text())
    except OSError as error:
        raise JobError(
            f"--profile {name}: no file {path}: write it, with the profile's name and settings below it, or set"
            " LIGHTNING_META_PROFILES"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise JobError(f"{path} is not YAML: {error}") from error
    if not isinstance(content, dict):
        raise JobError(f"{path} holds no profiles: it must be YAML with their names as keys")
    if name not in content:
        raise JobError(f"no profile {name!r} in {path}: choose from {', '.join(map(str, content)) or '(it is empty)'}")
    found = {} if content[name] is None else content[name]
    if not isinstance(found, dict):
        raise JobError(f"profile {name} in {path} is {found!r}: give it keys such as partition and setup")
    legal = JOB | OWN.get(backend, {})
    for key, value in found.items():
        if key not in legal and backend not in OWN:
            continue
        if key not in legal:
            raise JobError(
                f"profile {name} in {path} has the key {key!r}, which {backend} does not know: choose from"
                f" {', '.join(legal)}"
            )
        if not isinstance(value, legal[key]) or (isinstance(value, bool) and legal[key] is int):
            raise JobError(f"profile {name} in {path}: {key} is {value!r}, which is no {legal[key].__name__}")
    return found


def split(settings: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What is a job's own, and what goes into its `options`; lists and variables as text."""
    own = {key: value for key, value in settings.items() if key in JOB}
    for key in ("setup", "passthrough"):
        if key in own:
            own[key] = tuple(map(str, own[key]))
    if "environment" in own:
        own["environment"] = {str(key): str(value) for key, value in own["environment"].items()}
    return own, {key: value for key, value in settings.items() if key not in JOB}
