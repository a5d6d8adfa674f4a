"""Back ends are found by entry points: one outside the package works without an edit, and one that fails is named."""

import ast
import json
import os
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from clusters.core.job import JobError
from clusters.core.plugins import backend_names, load_backend, load_backends
from lightning_meta.cli import main
from support.mistakes import ends_with_one_message
from support.paths import ROOT
from support.runs import write_yaml

EXAMPLE = ROOT / "docs" / "examples" / "pbs_backend"
FAKE_PBS = {  # a queue of one job, run at once
    "qsub": 'setsid bash "$1" > /dev/null 2>&1 & echo $! > "$FAKE_PBS"; echo 7.head',
    "qstat": 'kill -0 "$(cat "$FAKE_PBS")" && echo "$1 try me 0 R workq"',
    "qdel": 'kill -TERM -- "-$(cat "$FAKE_PBS")"',
}
RUN = """
import contextlib, io, json, sys
from lightning_meta.cli import main
results = []
for argv in json.loads(sys.argv[1]):
    status, out = 0, io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        try:
            main(argv)
        except SystemExit as ended:
            status = ended.code or 0
    results.append([status, out.getvalue()])
print(json.dumps(results))
"""


def distribution(site: Path, name: str, backends: dict[str, str], module: str = "") -> None:
    """Install a distribution into a folder of the path, as pip would."""
    info = site / f"{name.replace('-', '_')}-2.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 2.0\n")
    lines = "".join(f"{backend} = {place}\n" for backend, place in backends.items())
    (info / "entry_points.txt").write_text(f"[lightning_meta.backends]\n{lines}")
    for place in backends.values():
        (site / f"{place.partition(':')[0]}.py").write_text(module)


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with jobs and profiles of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LIGHTNING_META_JOBS", str(tmp_path / "jobs"))
    monkeypatch.setenv("LIGHTNING_META_PROFILES", str(tmp_path / "profiles.yaml"))
    return tmp_path


@pytest.fixture
def pbs(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The example of the documentation, installed, and a PBS that runs one job."""
    entries = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]["entry-points"]
    module = (EXAMPLE / "lightning_meta_pbs.py").read_text()
    distribution(elsewhere / "site", "lightning-meta-pbs", entries["lightning_meta.backends"], module)
    (elsewhere / "bin").mkdir()
    python = 'case "$*" in *sleeps*) echo waits; exec sleep 60;; esac; echo "runs $3 $LIGHTNING_META_RUN"; exit 3'
    for name, line in {**FAKE_PBS, "python": python}.items():
        (elsewhere / "bin" / name).write_text(f"#!/bin/bash\n{line}\n")
        (elsewhere / "bin" / name).chmod(0o755)
    profile = {"python": str(elsewhere / "bin" / "python"), "queue": "workq", "setup": ["echo set up"]}
    write_yaml(elsewhere / "profiles.yaml", {"site": profile, "typo": {"queu": "x"}, "number": {"queue": 7}})
    monkeypatch.setenv("FAKE_PBS", str(elsewhere / "pid"))
    monkeypatch.setenv("PATH", f"{elsewhere / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(elsewhere / "site"), str(ROOT), *sys.path]))
    return elsewhere


def run(*commands: str) -> list[Any]:
    """Run commands one after another in a process that finds the back end on its path."""
    argument = json.dumps([command.split() for command in commands])
    done = subprocess.run([sys.executable, "-c", RUN, argument], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_a_back_end_outside_the_package_is_used_without_an_edit_of_it(pbs: Path) -> None:
    results = run(
        "submit --help",
        "submit pbs --help",
        "submit pbs --profile site --dry-run --qsub=-Wumask=022 -- compare a.ckpt",
        "submit pbs --profile typo -- compare a.ckpt",
        "submit pbs --profile number -- compare a.ckpt",
        "submit pbs --nodes 2 -- compare a.ckpt",
        "submit local --qsub=-Wumask=022 -- compare a.ckpt",
        "submit pbs --profile site --name fails -- compare a.ckpt",
        "jobs logs fails -f",
        "jobs status fails",
        "submit pbs --profile site --name sleeps -- compare sleeps",
        "jobs status sleeps",
        "jobs cancel sleeps",
        "jobs list",
    )
    texts = [text for _, text in results]
    assert [status for status, _ in results] == [0, 0, 0, 2, 2, 2, 2, 0, 0, 1, 0, 0, 0, 0], texts
    expected = (
        ["PBS, from a login node", "--qsub=-Wumask=022"],
        ["the queue that the job waits in"],
        ["#PBS -q workq\n", "#PBS -Wumask=022\n"],
        ["'queu' is not an option of pbs: did you mean queue?"],
        ["queue is 7: give text (the queue that the job waits in)"],
        ["--nodes is 2: leave it out, as this back end uses one node"],
        ["--qsub is not an option of local"],
        ["7.head\n"],
        ["set up\nruns compare fails-"],
        ["failed (exit code 3)"],
        ["7.head\n"],
        ["running"],
        ["cancelled 7.head"],
        ["failed", "cancelled", "pbs"],
    )
    for parts, text in zip(expected, texts, strict=True):
        assert [part for part in parts if part not in text] == [], text
    end = time.monotonic() + 10
    while Path("/proc", (pbs / "pid").read_text().strip()).exists():
        assert time.monotonic() < end, "the job runs on"
        time.sleep(0.1)


def test_a_back_end_that_cannot_be_loaded_is_named_with_its_distribution(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for name, module in {
        "lacking": "import no_such_module",
        "broken": "raise OSError('first\\nsecond')",
        "partial": "from clusters.core.backend import Backend\nclass Found(Backend):\n    name = 'partial'",
        "other": "Found = dict",
    }.items():
        distribution(elsewhere / "site", f"lightning-meta-{name}", {name: f"site_{name}:Found"}, module)
    monkeypatch.syspath_prepend(str(elsewhere / "site"))
    for name, reason in {
        "lacking": "ModuleNotFoundError: No module named 'no_such_module'",
        "broken": "OSError: first second",
        "partial": "abstract",
        "other": "site_other:Found, which is not a Backend of that name",
    }.items():
        parts = [f"the back end {name} of lightning-meta-{name} 2.0", reason]
        ends_with_one_message(f"submit {name} -- compare a.ckpt", parts, elsewhere, capfd)
    backends, problems = load_backends()
    assert set(backends) >= {"local", "slurm", "ray", "kubernetes"}, "the others are as they were"
    assert len(problems) == 4
    main(["submit", "--help"])
    assert "the back end broken of lightning-meta-broken 2.0 cannot be loaded" in capfd.readouterr().out
    main(["submit", "local", "--dry-run", "--", "compare", "a.ckpt"])
    printed = capfd.readouterr()
    assert printed.out.startswith("#!/bin/bash")
    assert "broken" not in printed.err


def test_an_error_of_a_back_end_of_another_package_is_one_line_that_names_it(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    module = """
        from clusters.local.backend import Local
        class Faulty(Local):
            name = "faulty"
            def script(self, job):
                return {}["queue"]
    """
    distribution(elsewhere / "site", "lightning-meta-faulty", {"faulty": "site_faulty:Faulty"}, dedent(module))
    monkeypatch.syspath_prepend(str(elsewhere / "site"))
    parts = ["the back end faulty of lightning-meta-faulty 2.0 failed in script (KeyError: 'queue')", "DEBUG=1"]
    ends_with_one_message("submit faulty --dry-run -- compare a.ckpt", parts, elsewhere, capfd)


def test_a_profile_with_an_empty_setting_is_refused(elsewhere: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_yaml(elsewhere / "profiles.yaml", {"site": {"memory": None}})
    parts = ["profile site in", "memory is null: give it a value, or leave it out"]
    ends_with_one_message("submit local --profile site -- compare a.ckpt", parts, elsewhere, capfd)


def test_a_name_that_two_distributions_give_is_refused(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    distribution(elsewhere / "site", "lightning-meta-mine", {"local": "site_mine:Mine"})
    monkeypatch.syspath_prepend(str(elsewhere / "site"))
    with pytest.raises(JobError, match=r"of .*lightning-meta-mine 2\.0.*: uninstall all but one"):
        load_backend("local")


def test_the_commands_and_the_core_name_no_back_end() -> None:
    sources = [ROOT / "lightning_meta" / "cli" / f"{name}.py" for name in ("submit", "jobs")]
    sources += [path for path in (ROOT / "clusters" / "core").glob("*.py") if path.name != "versions.py"]
    names = set(backend_names())
    assert names >= {"local", "slurm", "ray", "kubernetes"}
    for path in sources:
        constants = {node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)}
        assert not names & {value for value in constants if isinstance(value, str)}, path


@pytest.mark.parametrize("name", ["local", "slurm", "ray", "kubernetes"])
def test_every_option_of_a_back_end_is_explained(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    main(["submit", name, "--help"])
    printed = capsys.readouterr().out
    for key, option in load_backend(name).options.items():
        assert f"  {key} " in printed
        assert option.meaning in printed
