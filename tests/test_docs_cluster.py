"""What docs/cluster.md shows is valid, and the SLURM script does what it says."""

import os
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from keras_seq.cli.forecast import _ARGUMENTS, _COLUMNS
from keras_seq.cli.job_file import TUNE, JobFile, read_job_file
from keras_seq.cli.options import SEARCH

PAGE = (Path(__file__).parents[1] / "docs" / "cluster.md").read_text("utf-8")


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


JOB, MANIFESTS, RAY_JOB = _blocks("yaml")
SLURM, RAY_SUBMIT = _blocks("bash")
DOCUMENTS: dict[str, dict[str, Any]] = {
    document["kind"]: document for document in yaml.safe_load_all(MANIFESTS)
}


def _read(text: str, tmp_path: Path) -> JobFile:
    path = tmp_path / "job.yaml"
    path.write_text(text)
    return read_job_file(path, _COLUMNS, _ARGUMENTS)


@pytest.mark.parametrize("script", _blocks("bash"), ids=["slurm", "ray"])
def test_the_shell_understands_the_scripts(script: str) -> None:
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)


def test_every_flag_exists() -> None:
    known = {name.replace("_", "-") for name in (*SEARCH, *_ARGUMENTS, *_COLUMNS)}
    commands = re.findall(r"keras-seq \w+ tune((?:.|\\\n)*)", PAGE)
    assert len(commands) >= 3
    for command in commands:
        assert set(re.findall(r"--([a-z-]+)", command)) <= known


def test_the_job_files_are_read(tmp_path: Path) -> None:
    job = _read(JOB, tmp_path)
    assert job.columns == {"id_col": "shop", "time_col": "month", "target_col": "sales"}
    assert job.estimator == {"horizon": 12, "cell": "gru", "learning_rate": 1e-3}
    assert job.space == {
        "units": [32, 64, 128],
        "dropout": (0.0, 0.5),
        "global_clipnorm": (0.1, 10.0, "log"),
        "num_layers": (1, 3),
    }
    ray = _read(RAY_JOB, tmp_path)
    assert ray.tune["executor"] == "ray"
    paths = [*ray.files.values(), Path(ray.tune["directory"])]
    assert all(path.is_absolute() for path in paths)


def test_the_page_lists_every_key_of_tune() -> None:
    (line,) = re.findall(r"- Under `tune`: (.*?);", PAGE, re.DOTALL)
    assert re.findall(r"`(\w+)`", line) == list(TUNE)


def test_the_manifests_fit_together(tmp_path: Path) -> None:
    job = DOCUMENTS["Job"]["spec"]
    pod = job["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["restartPolicy"] == "Never"  # podFailurePolicy allows no other
    _, wrong_input = job["podFailurePolicy"]["rules"]
    assert wrong_input["onExitCodes"]["containerName"] == container["name"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    volumes = {volume.pop("name"): volume for volume in pod["volumes"]}
    assert mounts.keys() == volumes.keys()
    claim = DOCUMENTS["PersistentVolumeClaim"]["metadata"]["name"]
    assert volumes["work"]["persistentVolumeClaim"]["claimName"] == claim
    files = DOCUMENTS["ConfigMap"]
    assert volumes["job"]["configMap"]["name"] == files["metadata"]["name"]
    (name,) = files["data"]
    assert container["command"][-1] == f"{mounts['job']}/{name}"
    assert container["workingDir"] == mounts["work"]
    limits = container["resources"]["limits"]
    assert container["resources"]["requests"] == limits
    tune = _read(files["data"][name], tmp_path).tune
    used = tune["executor"] * tune["max_trial_mb"] * 1e6
    assert used < 0.9 * int(limits["memory"].removesuffix("Gi")) * 2**30


@pytest.fixture
def node(tmp_path: Path) -> dict[str, str]:
    """The environment of a SLURM job whose commands only write down their calls."""
    commands = {
        "keras-seq": 'echo "$@" > called; trap "echo > ended; exit 143" TERM\n'
        "for _ in $(seq 600); do [ -e done ] && exit $(cat done); sleep 0.05; done",
        "scontrol": 'ls ended; echo "$@" > requeued',
    }
    for name, script in commands.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{script}\n")
        (tmp_path / name).chmod(0o755)
    return {
        "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}",
        "SLURM_CPUS_PER_TASK": "16",
        "SLURM_MEM_PER_NODE": "65536",
        "SLURM_JOB_ID": "77",
    }


def _start(node: dict[str, str], folder: Path) -> "subprocess.Popen[str]":
    (folder / "search.sh").write_text(SLURM)
    process = subprocess.Popen(
        ["bash", "search.sh"], cwd=folder, env=node, stdout=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 20
    while not (folder / "called").exists() or not (folder / "called").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return process


def test_the_slurm_script_goes_back_into_the_queue(
    node: dict[str, str], tmp_path: Path
) -> None:
    with _start(node, tmp_path) as process:
        process.send_signal(signal.SIGUSR1)
        output, _ = process.communicate(timeout=30)
    assert (tmp_path / "called").read_text().split() == [
        *("forecast", "tune", "--job", "job.yaml", "--directory", "search"),
        *("--executor", "4", "--max-trial-mb", "13926"),
    ]
    # The search had ended before the job was put back.
    assert output == "The time is up: back into the queue.\nended\n"
    assert (tmp_path / "requeued").read_text() == "requeue 77\n"
    assert process.returncode == 0


@pytest.mark.parametrize("code", [0, 2])
def test_the_slurm_script_ends_as_the_search_does(
    code: int, node: dict[str, str], tmp_path: Path
) -> None:
    with _start(node, tmp_path) as process:
        (tmp_path / "done").write_text(str(code))
        process.communicate(timeout=30)
    assert process.returncode == code
    assert not (tmp_path / "requeued").exists()
