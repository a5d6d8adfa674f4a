"""A search on a Ray cluster that lives inside a job of Slurm's, on two nodes in network namespaces."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.clusters_here import command_line, namespaces_possible
from support.runs import write_yaml
from support.slurm_here import missing, slurm
from support.slurm_user import User

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.skipif(bool(missing()), reason=missing() or "all there"),
    pytest.mark.skipif(not namespaces_possible(), reason="no network namespaces here"),
]

SEARCH = {
    "search": {"trials": 4, "cpus": 1, "space": {"model.learner.inner_lr": {"choice": [0.01, 0.1]}}},
    "data": {
        "init_args": {"val_shots": [5], "epoch_batches": 5, "meta_batch": 4, "val_episodes": 8, "test_episodes": 8}
    },
    "trainer": {"max_epochs": 1, "accelerator": "cpu", "log_every_n_steps": 1},
}


@pytest.fixture
def user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[User]:
    folder = tmp_path_factory.mktemp("ray")
    with slurm(folder / "slurm", namespaces=True) as cluster:
        write_yaml(folder / "search.yaml", SEARCH)
        made = User(cluster, folder)
        write_yaml(folder / "profiles.yaml", {"ray": {"object_store_memory": 100_000_000, "time": "1h"}})
        yield made


def test_tune_on_two_nodes(user: User) -> None:
    search = ("--", "tune", "--config", "sinusoid-maml.yaml", "--config", "search.yaml")
    job = user.submit("--profile", "ray", "--nodes", "2", "--cpus-per-task", "2", *search)
    folder = Path(job["folder"])
    user.cluster.wait(lambda: bool(list(Path("/tmp").glob("lm-*/ray"))), 60, folder / "log.txt")
    assert {path.parent.stat().st_mode & 0o777 for path in Path("/tmp").glob("lm-*/ray")} == {0o700}, (
        "Ray's own is 0777"
    )
    assert [path.stat().st_mode & 0o777 for path in folder.glob("ray-token-*")] == [0o600]
    said = user("jobs", "logs", "-f", job["id"])
    assert "is the best of 4 trials" in said
    status = user.status(job["id"])
    assert (status["state"], status["exit_code"]) == ("succeeded", 0)
    (search_folder,) = (user.folder / "runs").glob(f"*/{folder.name}")
    report = json.loads((search_folder / "search.json").read_text())
    assert len(report["trials"]) == 4
    assert "2 of 2 nodes" in said
    assert not list(folder.glob("ray-token-*"))
    left = [command_line(int(path.name)) for path in Path("/proc").glob("[0-9]*")]
    assert not [line for line in left if "--temp-dir=/tmp/lm-" in line]
    assert not list(Path("/tmp").glob("lm-*/ray"))


def test_the_drivers_exit_code_is_kept(user: User) -> None:
    broken = {**SEARCH, "trainer": {**SEARCH["trainer"], "plugins": None}, "search": {**SEARCH["search"], "cpus": 99}}
    write_yaml(user.folder / "search.yaml", broken)
    search = ("--", "tune", "--config", "sinusoid-maml.yaml", "--config", "search.yaml")
    job = user.submit("--profile", "ray", "--nodes", "2", "--cpus-per-task", "2", *search)
    said = user("jobs", "logs", "-f", job["id"])
    assert "lightning-meta: error:" in said
    assert user.status(job["id"], status=1)["exit_code"] == 2


def test_a_requeued_search_goes_on(user: User) -> None:
    longer = {**SEARCH, "trainer": {**SEARCH["trainer"], "max_epochs": 2}, "search": {**SEARCH["search"], "trials": 6}}
    write_yaml(user.folder / "search.yaml", longer)
    search = ("--", "tune", "--config", "sinusoid-maml.yaml", "--config", "search.yaml")
    job = user.submit("--profile", "ray", "--nodes", "2", "--cpus-per-task", "1", *search)
    folder = Path(job["folder"])
    history = user.folder / "runs" / "sinusoid-maml-search" / folder.name / "history.jsonl"
    user.cluster.wait(lambda: history.is_file() and bool(history.read_text()), 90, folder / "log.txt")
    before = history.read_text().splitlines()
    user.cluster("scancel", "--batch", "--signal=USR1", job["id"])
    said = user("jobs", "logs", "-f", job["id"])
    assert "preempted: requeued" in said
    assert "is the best of 6 trials" in said
    assert history.read_text().splitlines()[: len(before)] == before
    status = user.status(job["id"])
    assert (status["state"], status["restarts"]) == ("succeeded", 1)
