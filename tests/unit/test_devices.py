"""Where arrays live is never silent, and half the bits give the same images."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import numpy as np
import pytest
import test_networks
import torch

from senmei.core import devices
from senmei.core.errors import ConfigError
from senmei.core.jobs import Job
from senmei.core.method import FitContext
from senmei.methods.gaussian import Gaussian
from senmei.methods.srcnn3d import SRCNN3D
from senmei.methods.unet3d import UNet3D
from senmei.stages.train import record
from senmei.training import loop


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_require_is_refused_here_without_a_gpu_and_left_to_jobs_elsewhere(monkeypatch):
    monkeypatch.setattr(devices, "gpu_visible", lambda: False)
    with pytest.raises(ConfigError) as caught:
        devices.check_policy("require", local=True)
    assert "device: require" in str(caught.value) and "--profile slurm" in str(caught.value)
    devices.check_policy("require", local=False)
    devices.check_policy("prefer", local=True)
    devices.check_policy("cpu", local=True)
    monkeypatch.setattr(devices, "gpu_visible", lambda: True)
    devices.check_policy("require", local=True)


@pytest.mark.parametrize("hidden", ["", "-1"])
def test_a_hidden_gpu_is_none(monkeypatch, hidden):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    assert not devices.gpu_visible()


@pytest.mark.parametrize("there", [True, False])
def test_policies_lead_to_devices(monkeypatch, there):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    assert devices.resolve_device("cpu") == "cpu"
    assert devices.resolve_device("prefer") == ("cuda" if there else "cpu")
    if there:
        assert devices.resolve_device("require") == "cuda"
    else:
        with pytest.raises(ConfigError, match="No usable GPU"):
            devices.resolve_device("require")


def test_what_was_used_is_told_and_recorded(monkeypatch, caplog):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    snakemake = SimpleNamespace(
        input=[], output=[], params={}, wildcards=[], threads=1, config={"device": "prefer"}, rule="train"
    )
    job, lines = Job(snakemake), []
    with caplog.at_level(logging.INFO, "senmei"):
        device = job.device()
    assert "device: cpu (policy: prefer)" in caplog.text
    record(UNet3D(precision="bf16"), device, lines.append, job.used, processes=1)
    assert job.used == {"device": "cpu", "precision": "bf16", "processes": 1}
    assert lines == ["precision: bf16, processes: 1"]
    used = {}
    record(Gaussian(), device, lines.append, used)
    assert used == {} and len(lines) == 1  # it has no choice of precision


@pytest.mark.parametrize("fast", [True, False])
def test_auto_is_what_the_processor_is_good_at_and_says_so(monkeypatch, fast):
    monkeypatch.setattr(loop, "_fast_bf16", lambda kind: fast)
    expected = "bf16" if fast else "float32"
    assert UNet3D(precision="auto").arithmetic("cpu") == expected
    with loop.mixed_precision("auto", "cpu"):
        product = torch.ones(2, 2) @ torch.ones(2, 2)
    assert product.dtype == (torch.bfloat16 if fast else torch.float32)


def test_mixed_precision_gives_the_same_metrics_within_noise():
    scores, restored = [], []
    case = test_networks.example(0.09, 11, (24, 26, 22))
    for precision in ("float32", "bf16"):
        method = SRCNN3D(channels=8, batch=2, patch=16, steps=80, looks=False, precision=precision)
        context = FitContext(seed=1, log=lambda text: None)
        weights = method.fit(
            [test_networks.example(0.05, 3, (24, 26, 22))],
            [test_networks.example(0.09, 4, (24, 26, 22), name="v")],
            context,
        )
        method.load(weights)
        image = method.apply(case)
        truth = case["reference"].data
        inside = truth > 0
        scores.append(-10 * np.log10(np.mean(((image.data - truth)[inside] / 800) ** 2)))
        restored.append(image.data)
        before = -10 * np.log10(np.mean(((case["input"].data - truth)[inside] / 800) ** 2))
        assert scores[-1] > before + 0.5  # it has learned: what is compared is worth comparing
    assert not np.array_equal(*restored)  # and it was another arithmetic
    assert abs(scores[0] - scores[1]) < 0.1
