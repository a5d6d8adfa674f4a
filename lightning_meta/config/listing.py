"""The packaged configurations: a list of them, and a command that uses one."""

from pathlib import Path

from lightning_meta.config.merge import FOLDERS, PACKAGED

COMMANDS = {  # what goes around a file of each folder
    "tasks": "fit --config {name} --config protonet.yaml",
    "learners": "fit --config glyphs.yaml --config {name}",
    "agents": "fit --config bandits.yaml --config {name}",
    "recipes": "fit --config {name}",
    "search": "tune --config glyphs.yaml --config maml.yaml --config {name}",
    "reproduce": "fit --config {name}",
}
FOR_WORLDS = {
    "tasks": "fit --config {name} --config rl2.yaml",
    "search": "tune --config navigation.yaml --config maml_rl.yaml --config {name}",
}
FOR_REGRESSION = {"tasks": "fit --config {name} --config maml.yaml"}
MARKS = {"datamodules.worlds": FOR_WORLDS, "maml_rl": FOR_WORLDS, "datamodules.sinusoid": FOR_REGRESSION}


def packaged() -> dict[str, list[Path]]:
    """Return the packaged files by folder, sorted by name."""
    return {folder: sorted((PACKAGED / folder).glob("*.yaml")) for folder in FOLDERS}


def list_configs() -> str:
    """Return the packaged files, a line each: the name, and the comment on its first line."""
    paths = packaged()
    width = max(len(path.name) for each in paths.values() for path in each) + 2
    lines = []
    for folder, each in paths.items():
        lines.append(f"{folder}:")
        for path in each:
            first = path.read_text().splitlines()[0]
            lines.append(
                f"  {path.name:{width}}{first.removeprefix('#').strip() if first.startswith('#') else ''}".rstrip()
            )
    return "\n".join(lines)


def usage(file: Path) -> str | None:
    """Return a command that uses a packaged file; None for a file that is not packaged."""
    folder = file.parent.name
    if file not in packaged().get(folder, ()):
        return None
    text = file.read_text()
    suited = next((commands for mark, commands in MARKS.items() if mark in text and folder in commands), COMMANDS)
    return f"lightning-meta {suited[folder].format(name=file.name)}"
