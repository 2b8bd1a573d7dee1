"""device.py: the number type that the hardware has, and a batch normalization that equals Keras's."""

import json
import os

import numpy as np
import pytest

from audio_utils.inference import device, network
from panotti_models import keras


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_fused_batch_normalization_trains_like_keras_s_own(precision):
    batch = np.random.default_rng(1).normal(3, 2, (8, 20, 30, 4)).astype(np.float32)
    found = []
    for fuse in (lambda model: None, device.fuse_batch_normalization):
        keras.utils.set_random_seed(1)
        inputs = keras.Input(batch.shape[1:])
        outputs = keras.layers.BatchNormalization(momentum=0.9, dtype=precision)(inputs)
        model = keras.Model(inputs, keras.layers.Dense(2, dtype="float32")(outputs))
        fuse(model)
        model.compile("sgd", "mse")
        losses = [model.train_on_batch(batch, batch[..., :2] ** 2) for _ in range(3)]
        found.append([losses, *network.arrays(model.weights), network.predict(model, batch)])
    tolerance = 1e-3 if precision == "float32" else 0.04  # bfloat16 has 8 bits
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, tolerance, tolerance)


@pytest.mark.parametrize(("output", "capability", "precision"), [
    ("9.0\n", 9.0, "mixed_bfloat16"), ("9.0\n7.5\n", 7.5, "float32"), ("", 0, "float32"),
    ("[N/A]\n", 0, "float32"), (None, 0, "float32")])
def test_a_gpu_computes_in_bfloat16_only_if_it_supports_it(tmp_path, monkeypatch, output, capability, precision):
    if output is not None:
        (tmp_path / "nvidia-smi").write_text(
            f"#!/bin/sh\ntest \"$1\" = --query-gpu=compute_cap && printf '{output}'\n")
        (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin" if output is not None else str(tmp_path))
    monkeypatch.setattr(device, "on_gpu", lambda: True)
    assert device.compute_capability() == capability
    assert device.best_precision() == precision


def test_the_device_has_the_backend_s_own_name():
    assert device.device()
    assert device.on_gpu() == ("cpu" not in device.device().lower())


def test_the_description_names_the_processor_and_the_settings_of_its_kernels(monkeypatch):
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    found = device.description()
    assert json.loads(json.dumps(found)) == found
    assert found["settings"]["ONEDNN_MAX_CPU_ISA"] == "AVX2"
    assert found["versions"][0] == keras.__version__
    if not device.on_gpu() and os.path.exists("/proc/cpuinfo"):
        assert found["device"]
