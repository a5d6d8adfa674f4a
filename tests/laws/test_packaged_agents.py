"""Every packaged agent in every packaged world, as somebody would name them on the command line."""

import shlex
from contextlib import nullcontext

import pytest

from lightning_meta.cli import main
from lightning_meta.config.merge import PACKAGED, read
from lightning_meta.nn.build import find

AGENTS = [path.stem for path in sorted((PACKAGED / "agents").glob("*.yaml"))]
DATA = {path.stem: read(path)["data"] for path in sorted((PACKAGED / "tasks").glob("*.yaml"))}
WORLDS = [name for name, data in DATA.items() if data["class_path"] == "datamodules.worlds.Worlds"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "world", [name if name == "bandits" else pytest.param(name, marks=pytest.mark.slow) for name in WORLDS]
)
def test_every_agent_takes_every_world_on_two_processes_or_says_what_it_needs(
    world: str,
    capfd: pytest.CaptureFixture[str],
    recwarn: pytest.WarningsRecorder,  # noqa: ARG001  jsonargparse warns of how Lightning calls it
) -> None:
    options = DATA[world]["init_args"]
    arguments = {k: tuple(v) if isinstance(v, list) else v for k, v in options["world"]["init_args"].items()}
    there = find(options["world"]["class_path"])(**arguments)
    endless = not options.get("train_tasks") and there.tasks is None
    needs = {
        "pearl": [("needs continuous actions", there.discrete), ("set data.train_tasks", endless)],
        "recurrent_dpg": [("needs continuous actions", there.discrete)],
        "snail_rl": [("set the `length`", there.horizon > 10)],
    }
    for agent in AGENTS:
        wanted = next((words for words, needed in needs.get(agent, ()) if needed), None)
        run = f"fit --config {world}.yaml --config {agent}.yaml --trainer.accelerator cpu"
        with pytest.raises(SystemExit) if wanted else nullcontext():
            main(shlex.split(f"submit slurm --dry-run --nodes 2 -- {run}"))
        said = capfd.readouterr()
        assert (wanted or "#SBATCH --nodes=2") in said.err + said.out, (agent, said)
