"""Law 8 for agents: two processes with the same global meta-batch end with the same theta as one."""

from typing import Any

import pytest
import torch
from torch.testing import assert_close

from support.every_agent import RUNS, start
from support.paths import SUPPORT
from support.runs import python

pytestmark = (
    pytest.mark.slow
)  # every one, on one process and on two; test_maml_rl.py has two processes in the default run


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, dict[str, Any]]]:
    """Return the weights that one process and two processes (gloo) end with."""
    folder = tmp_path_factory.mktemp("ddp")
    for devices in ("1", "2"):
        done = python(folder, str(SUPPORT / "every_agent.py"), devices, f"{devices}.pt")
        assert done.returncode == 0, done.stderr
    return [torch.load(folder / f"{devices}.pt", weights_only=True) for devices in (1, 2)]


@pytest.mark.parametrize("run", RUNS)
def test_law_8_two_processes_end_with_the_theta_of_one(run: str, results: list[dict[str, dict[str, Any]]]) -> None:
    one, two = (result[run] for result in results)
    assert_close(two["theta"], one["theta"], rtol=1e-6, atol=1e-6)
    assert_close(two["scores"], one["scores"], rtol=1e-5, atol=1e-5)
    assert two["steps"] == one["steps"] > 0


@pytest.mark.parametrize("run", RUNS)
def test_they_did_train(run: str, results: list[dict[str, dict[str, Any]]]) -> None:
    """Two that stand still would agree too."""
    after = results[1][run]["theta"]
    moved = max(float((after[name] - w.detach()).abs().max()) for name, w in start(run)[0].named_parameters())
    assert moved > 1e-4
