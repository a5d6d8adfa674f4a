"""Configuration files: bare names, merging, and where a run lives."""

import difflib
import hashlib
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from lightning_meta.config.spelling import shown
from lightning_meta.core import InputError

PACKAGED = Path(str(files("lightning_meta.configs")))
LONGEST = 200  # bytes of a run's name: file systems take 255, and jobs and files are named after runs
FOLDERS = ("tasks", "learners", "agents", "recipes", "search", "reproduce")


def resolve(name: str) -> Path:
    """The file that `--config name` means: a path if there is one, else a packaged file of that name."""
    if Path(name).is_file():
        return Path(name)
    if Path(name).is_dir():
        inside = sorted(path.name for path in Path(name).glob("*.yaml"))
        raise InputError(
            f"--config {name} is a folder: give a file{f', {Path(name, inside[0])} say' if inside else ''}"
        )
    packaged = {path.name: path for folder in FOLDERS for path in (PACKAGED / folder).glob("*.yaml")}
    wanted = name if name.endswith(".yaml") else f"{name}.yaml"
    folder, _, rest = wanted.rpartition("/")
    if folder in FOLDERS:
        wanted = rest
    if wanted in packaged:
        return packaged[wanted]
    close = near(name) or difflib.get_close_matches(wanted, packaged, n=3, cutoff=0.4)
    hint = f" Did you mean {' or '.join(close)}?" if close else ""
    raise InputError(f"no configuration {name!r}, neither here nor packaged.{hint} `lightning-meta configs` lists them")


def near(name: str) -> list[str]:
    """The YAML files in the folder that a path names, whose names are like its own."""
    files = {path.name: str(path) for path in Path(name).parent.glob("*.y*ml")}
    return [files[one] for one in difflib.get_close_matches(Path(name).name, files, n=3, cutoff=0.6)]


class Strict(yaml.SafeLoader):
    """YAML in which a key stands once, and 1e-3 is a number, as in Python."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"the key {key.value} is there twice", key.start_mark
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep)


Strict.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9][0-9_]*(\.[0-9_]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def read(path: Path) -> dict[str, Any]:
    """A YAML file as a dictionary; InputError where it is none."""
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not YAML: {error}") from error
    return written(text, path)


def written(text: str, where: object) -> dict[str, Any]:
    """YAML as a dictionary; InputError, which names `where` it stands, where it is none."""
    try:
        content = yaml.load(text, Strict)
    except (yaml.YAMLError, RecursionError) as error:
        raise InputError(f"{where} is not YAML: {place(error)}") from error
    if isinstance(content, dict):
        return content
    came = "is empty" if content is None else f"is {'a list' if isinstance(content, list) else repr(content)[:40]}"
    colon = ": a space is missing after a colon" if isinstance(content, str) and ":" in content else ""
    raise InputError(
        f"{where} {came}{colon}; it holds no configuration: it must be YAML with keys such as model, data and trainer"
    )


def place(error: Exception) -> str:
    """Return YAML's complaint with its line and column."""
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return str(error).splitlines()[0]
    said = str(getattr(error, "problem", "")) or "it ends here"
    tab = " (indent with spaces, not with tabs)" if "\\t" in said else ""
    return f"line {mark.line + 1}, column {mark.column + 1}: {said}{tab}"


def merge(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """`second` over `first`, key by key; where it names another class, the arguments of the first class are dropped."""
    if {"class_path"} <= first.keys() & second.keys() and first["class_path"] != second["class_path"]:
        first = {key: value for key, value in first.items() if key != "init_args"}
    merged = dict(first)
    for key, value in second.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = merge(merged[key], value) if both else value
    return merged


def split_argv(argv: list[str]) -> tuple[list[str], list[str]]:
    """The values of every --config (or -c), and the other arguments."""
    names, rest = [], []
    queue = list(argv)
    while queue:
        arg = queue.pop(0)
        if arg in ("--config", "-c"):
            if not queue:
                raise InputError("--config needs the name of a configuration file")
            names.append(queue.pop(0))
        elif arg.startswith("--config="):
            names.append(arg.removeprefix("--config="))
        else:
            rest.append(arg)
    return names, rest


def combine(names: list[str]) -> dict[str, Any]:
    """The packaged base, then the named files, each over those before it. The run is named after the files. A name of several
    lines is YAML itself, as a job that is sent to where its files are not has it.

    A file may begin with `include`, a list of the files that it goes over.
    """
    config = read(PACKAGED / "base.yaml")
    if names:
        name = run_name(names)
        config["trainer"]["logger"]["init_args"]["name"] = name
        config["trainer"]["default_root_dir"] = f"runs/{name}"
    for name in names:
        config = merge(config, written(name, "--config") if "\n" in name else with_included(resolve(name)))
    return config


def with_included(path: Path, within: tuple[Path, ...] = ()) -> dict[str, Any]:
    """A configuration file over those that it includes. Their names are those of files beside it, or of packaged ones.

    Raises InputError if a file includes itself, on whatever way, or `include` is not a list of names.
    """
    if path.resolve() in within:
        raise InputError(f"{path} includes itself: take it out of the `include` of {within[-1]}")
    file = read(path)
    included = file.pop("include", [])
    if not (isinstance(included, list) and all(isinstance(name, str) for name in included)):
        raise InputError(f"include of {path} is {shown(included)}: give a list of configuration files")
    config: dict[str, Any] = {}
    for name in included:
        beside = path.parent / name
        config = merge(config, with_included(beside if beside.is_file() else resolve(name), (*within, path.resolve())))
    return merge(config, file)


def run_name(names: list[str]) -> str:
    """The names of the configuration files in one; where a file system could not take that, cut short, with a digest."""
    name = "-".join(map(short, names))
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return name if len(name.encode()) <= LONGEST else f"{name.encode()[: LONGEST - 9].decode(errors='ignore')}-{digest}"


def short(name: str) -> str:
    """Return the part of a run's name that stands for a configuration file: its stem, or the folder of a set's task.yaml."""
    path = Path("text" if "\n" in name else name)
    return path.resolve().parent.name if path.stem == "task" else path.stem


def require(config: dict[str, Any], rest: list[str]) -> None:
    """A run needs a task and a learner, in the configuration files or among the arguments `rest`."""
    for key in ("trainer", "model"):
        if not isinstance(config.get(key, {}), dict):
            raise InputError(f"{key} is {shown(config[key])}: give it keys (--print_config shows them)")
    for key, kind, example in (("data", "task", "glyphs.yaml"), ("model.learner", "learner", "protonet.yaml")):
        node: Any = config
        for part in key.split("."):
            node = (node.get(part) or {}) if isinstance(node, dict) else {}
        named = (f"--{key}", f"--{key}.class_path")
        in_file = "class_path" in node if isinstance(node, dict) else True
        if not in_file and not any(arg.partition("=")[0] in named for arg in rest):
            raise InputError(f"no {kind} is given: add --config {example}, say (`lightning-meta configs` lists them)")
