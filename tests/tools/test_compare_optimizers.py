"""The comparison of optimisers as a user runs it, and the learned rule as one of torch's optimisers."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from lightning_meta.learners.learned_optimizer import LearnedRule
from support.paths import ROOT


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    import compare_optimizers

    return compare_optimizers


def problem(tool, networks: int, seed: int):
    images = tool.characters(0, drawings=4)
    return tool.Problem(tool.KINDS[1], images, networks, (seed,))


def test_many_networks_at_once_are_trained_as_each_alone(tool):
    """A weight has its own update and memory, whatever else is trained beside it."""
    rule, together = LearnedRule(), problem(tool, 3, 1)
    rows = torch.randint(40, (5, 3, 128))
    weights = [w.clone().requires_grad_() for w in together.weights]
    optimizer = tool.Learned(weights, rule)
    single = [torch.nn.Parameter(w[1].clone()) for w in together.weights]
    alone = tool.Learned(single, rule)
    for batch in rows:
        for params, stepper, which in ((weights, optimizer, slice(None)), (single, alone, 1)):
            stepper.zero_grad()
            x, y = together.images.x[batch[which]], together.images.y[batch[which]]
            loss = torch.vmap(together.loss) if which != 1 else together.loss
            loss(params, x, y).sum().backward()
            stepper.step()
    for w, one in zip(weights, single, strict=True):
        assert_close(w[1], one, rtol=1e-4, atol=1e-5)


def test_unrolling_for_meta_training_takes_the_steps_of_the_optimiser(tool):
    rule, steps = LearnedRule(), tool.CHUNK
    start = problem(tool, 2, 1)
    leaves = [w.requires_grad_() for w in start.weights]
    _, _, total = tool.unroll(rule, start, leaves, rule.start(tool.join(leaves)))
    curve, _ = tool.train(problem(tool, 2, 1), lambda w: tool.Learned(w, rule), steps + 1)
    assert_close(total, curve[1:].sum())
    assert curve[1:].sum() != pytest.approx(float(curve[:-1].sum()))


def test_networks_and_batches_are_a_pure_function_of_the_seed(tool):
    first, again, other = (problem(tool, 2, seed) for seed in (1, 1, 2))
    assert_close(first.weights, again.weights, rtol=0, atol=0)
    assert not torch.equal(first.weights[0], other.weights[0])
    assert_close(first.batch_losses(first.weights), again.batch_losses(again.weights), rtol=0, atol=0)


@pytest.mark.slow
def test_the_quick_comparison_writes_table_curves_and_rule(tmp_path: Path):
    script = [sys.executable, str(ROOT / "tools/compare_optimizers.py"), "--quick", "--json", "--seed", "1"]
    ran = subprocess.run([*script, "--out", str(tmp_path)], capture_output=True, text=True, check=True)
    results = json.loads(ran.stdout)
    assert json.loads((tmp_path / "results.json").read_text()) == results
    assert len(results) == 3
    for result in results:
        rows = result["optimizers"]
        assert list(rows) == ["learned", "SGD", "Adam", "RMSprop"]
        assert rows["learned"]["rate"] is None
        for row in rows.values():
            assert len(row["curve"]) == 40
            gap = row["final_loss"][0] - rows["learned"]["final_loss"][0]
            assert row["learned_is_less_by"][0] == pytest.approx(gap, abs=1e-5)
    assert results[0]["optimizers"]["learned"]["curve"][-1] < results[0]["optimizers"]["learned"]["curve"][0]
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    LearnedRule().load_state_dict(torch.load(tmp_path / "rule.pt", weights_only=True))
