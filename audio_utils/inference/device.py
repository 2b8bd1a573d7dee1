"""The device that the backend uses, its precision, and a faster batch normalization for CPUs."""

import importlib
import os
import platform
import subprocess
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from panotti_models import keras, layers

_BFLOAT16_FLAGS = ("avx512_bf16", "amx_bf16")  # in /proc/cpuinfo


def device() -> str:
    """The backend's own name of its device, or of the first one: "CPU:0", "GPU:0", "cuda:0", ..."""
    value = keras.Variable(0.0, trainable=False).value
    if keras.config.backend() == "jax":  # `value.device` is no device if there are several
        return str(min(value.devices(), key=lambda device: device.id))
    return str(value.device).rpartition("device:")[2]


def on_gpu() -> bool:
    """Whether the backend computes on something other than the processor."""
    return "cpu" not in device().lower()


def best_precision() -> str:
    """A dtype policy: mixed bfloat16 if the hardware and the backend support it, else float32."""
    if on_gpu():
        return "mixed_bfloat16" if compute_capability() >= 8 else "float32"
    if keras.config.backend() == "tensorflow":
        with suppress(OSError), open("/proc/cpuinfo") as file:
            flags = file.read()
            if any(flag in flags for flag in _BFLOAT16_FLAGS):
                return "mixed_bfloat16"
    return "float32"


def compute_capability() -> float:
    """The lowest CUDA compute capability of the NVIDIA GPUs here, 0 if there is none; bfloat16 needs 8."""
    with suppress(ValueError):
        return min(map(float, _nvidia_smi("compute_cap").split()), default=0)
    return 0


def description() -> dict[str, Any]:
    """The hardware and software that determine which kernels compute a network."""
    backend = keras.config.backend()
    return {"device": _nvidia_smi("name,driver_version") if on_gpu() else _processor(), "cores": os.cpu_count(),
            "backend": backend, "versions": [keras.__version__, str(importlib.import_module(backend).__version__)],
            "settings": {name: value for name, value in sorted(os.environ.items())
                         if name.startswith(("ONEDNN_", "DNNL_", "TF_ENABLE_", "XLA_", "NVIDIA_TF32"))}}


def _processor() -> str:
    """The name of the processor, and its bfloat16 flags, as virtual machines may hide the model."""
    with suppress(OSError, StopIteration), open("/proc/cpuinfo") as file:
        text = file.read()
        name = next(line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name"))
        return " ".join([name, *(flag for flag in _BFLOAT16_FLAGS if flag in text)])
    return platform.processor()


def _nvidia_smi(fields: str) -> str:
    """The output of nvidia-smi for these fields, a line per GPU; "" without a GPU."""
    with suppress(OSError):
        return subprocess.run(["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader"], stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, text=True).stdout
    return ""


def fuse_batch_normalization(model: keras.Model) -> None:
    """Train batch normalization with TensorFlow's fused kernel, if the model runs on the CPU.

    Keras composes it of a dozen operations, which take a third of an epoch's time. The result is the same, except that
    the moving variance is the unbiased one (n - 1, not n). The layers are saved as ordinary Keras layers.
    """
    if keras.config.backend() == "tensorflow" and not on_gpu():
        for layer in model.layers:
            if isinstance(layer, layers.BatchNormalization) and layer.axis in (-1, 3) and layer.scale and layer.center:
                layer.call = _fused(layer)


def _fused(layer: layers.BatchNormalization) -> Callable[..., Any]:
    from tensorflow import raw_ops, zeros
    composed = layer.call

    def call(inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        if not training or mask is not None or len(inputs.shape) != 4:
            return composed(inputs, training, mask)
        result = raw_ops.FusedBatchNormV3(x=inputs, scale=layer.gamma.value, offset=layer.beta.value, mean=zeros(0),
                                          variance=zeros(0), epsilon=layer.epsilon, is_training=True)
        for moving, now in ((layer.moving_mean, result.batch_mean), (layer.moving_variance, result.batch_variance)):
            moving.assign(layer.momentum * moving + (1 - layer.momentum) * now)
        return result.y

    return call
