"""Ray Jobs: what would be sent, and what is refused before anything is."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from clusters.core.job import Job, JobError
from clusters.ray import upload
from clusters.ray.backend import RayJobs
from clusters.ray.upload import plan_upload
from support.ray_head import job

pytest.importorskip("ray")


def fill(folder: Path) -> None:
    for path, text in {
        "mine.yaml": "a: 1",
        "deep/er/file": "x" * 1000,
        "deep/er/.gitignore": "*.bin\n",
        "deep/er/data.bin": "x",
        ".gitignore": "runs/\n",
        "runs/old": "x",
        ".rayignore": "/big\n",
        "big": "x",
        ".git/config": "x",
        ".venv/pyvenv.cfg": "x",
        "deep/__pycache__/a.pyc": "x",
        "notes.txt": "x",
    }.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)


def test_a_rendered_submission_is_yaml_and_says_what_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIGHTNING_META_DATA", "/data")
    monkeypatch.setenv("LIGHTNING_META_HUB_TOKEN", "hf_very_secret")
    monkeypatch.setenv("WANDB_API_KEY", "very_secret_too")
    options = {"address": "http://head:8265", "excludes": ["notes.txt"], "forward": ["LIGHTNING_META_*"]}
    asked = job(
        tmp_path, "fit", "--config", "mine.yaml", gpus_per_node=2, cpus_per_task=3, memory="4G", options=options
    )
    fill(asked.workdir)
    text = RayJobs().render(replace(asked, environment={"SEED": "3"}))
    made = yaml.safe_load(text)
    assert made == {
        "entrypoint": "lightning-meta fit --config mine.yaml",
        "submission_id": "try",
        "runtime_env": {
            "env_vars": {
                "LIGHTNING_META_DATA": "/data",
                "LIGHTNING_META_PREEMPTIBLE": "1",
                "LIGHTNING_META_RUN": "try",
                "RAY_JOB_STOP_WAIT_TIME_S": "120",
                "SEED": "3",
            },
            "working_dir": str(asked.workdir),
            "excludes": ["notes.txt"],
        },
        "metadata": {"name": "try", "submitted_by": "lightning-meta", "digest": made["metadata"]["digest"]},
        "entrypoint_num_cpus": 6,
        "entrypoint_num_gpus": 2,
        "entrypoint_memory": 4 * 2**30,
    }
    left = [line.removeprefix("# left out: ") for line in text.splitlines() if line.startswith("# left out")]
    assert left == [".git/", ".venv/", "big", "deep/__pycache__/", "deep/er/data.bin", "notes.txt", "runs/"]
    assert "# to http://head:8265" in text
    assert "# package: 5 files, 0.0 MiB" in text
    assert "# not sent, because it looks like a secret: LIGHTNING_META_HUB_TOKEN" in text
    assert "secret" not in text.replace("looks like a secret", "")


def test_a_file_whose_name_has_a_line_in_it_adds_no_line_to_the_yaml(tmp_path: Path) -> None:
    asked = job(tmp_path, "fit", options={"address": "http://head:8265", "excludes": ["x*"]})
    (asked.workdir / "x\nentrypoint: touch touched").write_text("x")
    text = RayJobs().render(asked)
    assert "# 'left out: x\\nentrypoint: touch touched'" in text
    assert yaml.safe_load(text)["entrypoint"] == "lightning-meta fit"


def test_the_packages_size_is_what_ray_makes(tmp_path: Path) -> None:
    from ray._private.runtime_env.packaging import create_package

    fill(tmp_path / "work")
    (tmp_path / "work" / "empty" / "folder").mkdir(parents=True)
    (tmp_path / "work" / "\u00fcber").write_text("x" * 12345)
    made = plan_upload(tmp_path / "work", ["notes.txt"])
    default = [".git", ".venv", "venv", "__pycache__", "notes.txt"]
    create_package(str(tmp_path / "work"), tmp_path / "a.zip", include_gitignore=True, excludes=default)
    assert made.size == (tmp_path / "a.zip").stat().st_size


def test_set_up_lines_and_a_time_limit_stand_in_the_entrypoint(tmp_path: Path) -> None:
    asked = job(tmp_path, "fit", setup=("module load cuda",), time="1h", options={"python": "/opt/my env/bin/python"})
    made = yaml.safe_load(RayJobs().render(asked))
    line = made["entrypoint"]
    assert line.startswith("timeout --signal=TERM --kill-after=120 3600 bash -c 'trap ")
    assert "\nmodule load cuda\n" in line
    assert line.endswith("bash '/opt/my env/bin/python' -m lightning_meta fit")


def test_what_is_passed_through_stands_in_the_submission_and_a_password_does_not(tmp_path: Path) -> None:
    more = ("runtime_env.pip=[einops]", "--entrypoint_label_selector.zone=a")
    text = RayJobs().render(job(tmp_path, "tune", passthrough=more, options={"address": "https://me:secret@head"}))
    made = yaml.safe_load(text)
    assert made["runtime_env"]["pip"] == ["einops"]
    assert made["entrypoint_label_selector"] == {"zone": "a"}
    assert "entrypoint_num_cpus" not in made, "a search's trials ask for what they need"
    assert "secret" not in text


def test_a_run_on_several_nodes_takes_its_resources_on_each(tmp_path: Path) -> None:
    size: dict[str, Any] = {"nodes": 2, "gpus_per_node": 8, "cpus_per_task": 4, "memory": "1G"}
    asked = job(tmp_path, "fit", **size, options={"python": "py", "resources": {"fast_disk": 1}})
    made = yaml.safe_load(RayJobs().render(asked))
    resources = '{"CPU": 32, "GPU": 8, "fast_disk": 1, "memory": 1073741824}'
    assert made["entrypoint"] == f"py -m clusters.ray.run_on_nodes 2 '{resources}' py -m lightning_meta fit"
    assert not [key for key in made if key.startswith("entrypoint_")], "the command itself takes none"


def submit(asked: Job) -> str:
    rendered = RayJobs().render(asked)
    RayJobs().check(asked, rendered)
    return RayJobs().submit(asked, rendered)


BAD: list[tuple[dict[str, Any], str]] = [
    ({"options": {}}, "the address of the Ray cluster is not given"),
    ({"options": {"address": "head:6379"}}, "address is 'head:6379': give the dashboard's address"),
    ({"options": {"adress": "x"}}, "'adress' is not an option of ray: did you mean address"),
    ({"options": {"excludes": "runs"}}, "excludes is 'runs': give a list"),
    (
        {"options": {"address": "http://127.0.0.1:1", "working_dir": "/none"}},
        "working_dir is /none, which is not a folder",
    ),
    ({"array": 2}, "--array is 2"),
    ({"memory": "4 GB"}, "memory is '4 GB'"),
    ({"time": "soon"}, "time is 'soon'"),
    ({"cpus_per_task": 0}, "cpus-per-task is 0"),
    ({"environment": {"HF_TOKEN": "x"}}, "HF_TOKEN looks like a secret"),
    ({"passthrough": ("x",)}, "give PATH=VALUE"),
    (
        {"passthrough": ("entrypont_num_cpus=1",)},
        "'entrypont_num_cpus' is not a part of a submission: did you mean entrypoint_num",
    ),
]


@pytest.mark.parametrize(("fields", "says"), BAD)
def test_what_ray_cannot_do_is_refused_before_it_is_asked(
    fields: dict[str, Any], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setitem(sys.modules, "ray.job_submission", None)
    with pytest.raises(JobError, match=says.replace("?", r"\?")):
        submit(job(tmp_path, "fit", **{"options": {"address": "http://127.0.0.1:1"}, **fields}))


def test_without_ray_the_message_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray.job_submission", None)
    with pytest.raises(JobError, match=r"pip install 'lightning-meta\[ray-jobs\]'"):
        submit(job(tmp_path, "fit", options={"address": "http://127.0.0.1:1"}))


def test_too_large_a_package_is_named_before_it_is_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = job(tmp_path, "fit", options={"address": "http://127.0.0.1:1"})  # nobody answers there
    fill(asked.workdir)
    monkeypatch.setattr(upload, "LIMIT", 1500)
    with pytest.raises(JobError, match=r"is 0.0 MiB: give at most (.|\n)*MiB  deep/er/file\n(.|\n)*\.rayignore"):
        RayJobs().check(asked, RayJobs().render(asked), dry_run=True)
