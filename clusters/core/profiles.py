"""Profiles: a site's settings under a name, in one YAML file."""

import os
from pathlib import Path
from typing import Any

import yaml

from clusters.core.backend import Backend
from clusters.core.job import JobError
from clusters.core.options import Option, check_options

JOB_OPTIONS = {  # of every back end; the fields of a job
    "nodes": Option(int, "the number of machines; 1 by default"),
    "gpus_per_node": Option(int, "GPUs, and processes, per machine; by default one process without a GPU"),
    "cpus_per_task": Option(int, "CPU cores per process; 1 by default"),
    "memory": Option(str, "memory per machine, such as 16G"),
    "time": Option(str, "the wall-clock limit, such as 30m, 4h or 1-12:00:00"),
    "max_restarts": Option(int, "how often a preempted job is put back into the queue; 10 by default"),
    "environment": Option(dict, "variables for the job, {NAME: VALUE}"),
    "setup": Option(list, "shell lines that run before the command, such as `module load cuda`"),
    "passthrough": Option(list, "options for the scheduler itself, unchanged"),
}


def profiles_file() -> Path:
    """Return the file of profiles: LIGHTNING_META_PROFILES, or profiles.yaml in the configuration folder of XDG."""
    if chosen := os.environ.get("LIGHTNING_META_PROFILES"):
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config", "lightning-meta", "profiles.yaml").expanduser()


def read_profile(name: str, backend: Backend) -> dict[str, Any]:
    """Return the settings of a profile.

    Args:
        name: The profile's name.
        backend: The back end that the job goes to, with its options.

    Raises:
        JobError: The file or the profile does not exist or cannot be read, or a setting is not legal for the back end.
    """
    path = profiles_file()
    try:
        content = yaml.safe_load(path.read_text())
    except OSError as error:
        raise JobError(
            f"--profile is {name}, and there is no file {path}: write it, with the profile's name and its settings below it,"
            " or set LIGHTNING_META_PROFILES"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise JobError(f"{path} is not YAML: {error}") from error
    if not isinstance(content, dict):
        raise JobError(f"{path} is not a file of profiles: give YAML with their names as keys")
    if name not in content:
        names = ", ".join(map(str, content)) or "(it is empty)"
        raise JobError(f"{name!r} is not a profile in {path}: choose from {names}")
    settings = {} if content[name] is None else content[name]
    if not isinstance(settings, dict):
        raise JobError(f"profile {name} in {path} is {settings!r}: give it keys and values")
    for setting, value in settings.items():
        if value is None:
            raise JobError(f"profile {name} in {path}: {setting} is null: give it a value, or leave it out")
    check_options(settings, {**JOB_OPTIONS, **backend.options}, backend.name, f"profile {name} in {path}: ")
    return settings


def split_settings(settings: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the fields of a job, with lists and variables as text, and the settings for its `options`."""
    fields = {name: value for name, value in settings.items() if name in JOB_OPTIONS}
    for name in ("setup", "passthrough"):
        if name in fields:
            fields[name] = tuple(map(str, fields[name]))
    if "environment" in fields:
        fields["environment"] = {str(name): str(value) for name, value in fields["environment"].items()}
    return fields, {name: value for name, value in settings.items() if name not in JOB_OPTIONS}
