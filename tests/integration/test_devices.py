"""Both estimators on several devices and on several processes equal one device."""

import importlib.util
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

REPOSITORY = Path(__file__).parents[2]

pytestmark = pytest.mark.slow
needs_jax = pytest.mark.skipif(
    importlib.util.find_spec("jax") is None, reason="needs the extra `jax`"
)


def start(backend, devices, distribution, **environment):
    command = [sys.executable, "-W", "ignore", "-m", "tests.training.fit_both"]
    return subprocess.Popen(
        [*command, str(devices), json.dumps(distribution)],
        env={**os.environ, "KERAS_BACKEND": backend, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
    )


def results(*processes):
    """What each process printed; none of them outlives this."""
    try:
        told = []
        for process in processes:
            out, errors = process.communicate(timeout=300)
            assert process.returncode == 0, errors
            told.append(json.loads(out.splitlines()[-1]))
        return told
    finally:
        for process in processes:
            process.kill()
            process.wait()


def assert_equal(expected, found):
    for task, columns in expected.items():
        assert set(columns) == set(found[task])
        for name, values in columns.items():
            # Answers are as large as the series, 60; losses and the rest below 2.
            np.testing.assert_allclose(
                values, found[task][name], rtol=1e-5, atol=1e-5, err_msg=name
            )


@pytest.mark.parametrize(
    ("backend", "devices"),
    [("tensorflow", 2), pytest.param("jax", 4, marks=needs_jax)],
)
def test_several_devices_equal_one(backend, devices):
    (alone,) = results(start(backend, 1, None))
    (together,) = results(start(backend, devices, "auto"))
    assert together["replicas"] == devices
    assert_equal(alone["fits"], together["fits"])


@needs_jax
def test_two_processes_equal_one():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    cluster = {
        "KERAS_DISTRIBUTION_JOB_ADDRESSES": f"127.0.0.1:{port}",
        "KERAS_DISTRIBUTION_NUM_PROCESSES": "2",
    }
    processes = [
        start("jax", 2, "auto", **cluster, KERAS_DISTRIBUTION_PROCESS_ID=str(rank))
        for rank in range(2)
    ]
    both = results(*processes)
    (alone,) = results(start("jax", 1, None))
    for found in both:
        assert found["replicas"] == 4
        assert_equal(alone["fits"], found["fits"])
