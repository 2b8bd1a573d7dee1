"""Count the training steps in bfloat16 that give NaN weights, on a processor with AMX.

The batches consist of random melgrams. After a step with NaN or infinite weights, the weights before it are restored.

Writes  the counts to stdout

    python tests/benchmarks/amx_steps.py
    python tests/benchmarks/amx_steps.py --network-from ../older      # the networks of another copy of the suite
    python tests/benchmarks/amx_steps.py --steps 20 --any-processor   # a short trial
"""

import importlib.util
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
from side_by_side import SUITE, cpu_info, print_machine

import train_network
from audio_utils.data.standardization import Standardization
from audio_utils.runtime import command_line, script
from audio_utils.runtime.command_line import Limits

STEPS = 10000          # training steps
FRAMES = 624           # of a melgram; 624 are 7.2 s, as for ESC-10
BATCH_SIZE = 16        # clips per step
NETWORK = "residual"   # one of panotti_models.NETWORKS
NETWORK_FROM = ""      # folder of a copy of the suite whose panotti_models.py is used; "": this one
ANY_PROCESSOR = False  # True: also on a processor without AMX

_LIMITS = {"STEPS": Limits(int, 1), "FRAMES": Limits(int, 1), "BATCH_SIZE": Limits(int, 1)}
_MELS, _CLASSES, _CLIPS, _REPORT_EVERY = 96, 10, 256, 1000


def main():
    options = command_line.parse(globals(), _LIMITS)
    if "amx_bf16" not in cpu_info("flags").split() and not options.any_processor:
        print(f"{cpu_info('model name') or 'This processor'} has no AMX (amx_bf16), so there is nothing to count; "
              "--any-processor runs it nevertheless, as a trial.")
        return
    suite = options.network_from or SUITE
    print_machine(f"{options.network} of {suite}, {options.frames} frames, batches of {options.batch_size}, bfloat16")
    start, failed, first = time.monotonic(), 0, Counter()
    for step, names in enumerate(steps(models_of(suite), options), 1):
        failed += bool(names)
        first.update(names[:1])
        if step % _REPORT_EVERY == 0 or step == options.steps:
            print(f"{step} steps of {1000 * (time.monotonic() - start) / step:.0f} ms: {failed} gave NaN or infinite "
                  f"weights; the first ones: {dict(first) or 'none'}.", flush=True)


def models_of(folder):
    """panotti_models.py of a copy of the suite."""
    spec = importlib.util.spec_from_file_location("panotti_models", Path(folder) / "panotti_models.py")
    module = sys.modules["panotti_models"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def steps(models, options):
    """For each step, the names of the weights that it made NaN or infinite."""
    from audio_utils.inference import device
    from audio_utils.inference.network import arrays, assign
    rng = np.random.default_rng(1)
    melgrams = rng.normal(-40, 15, (_CLIPS, _MELS, options.frames, 1)).astype(np.float32)
    targets = np.eye(_CLASSES, dtype=np.float32)[rng.integers(0, _CLASSES, _CLIPS)]
    models.keras.utils.set_random_seed(1)
    model = models.build(options.network, melgrams.shape[1:], _CLASSES, Standardization.of(melgrams), "mixed_bfloat16")
    device.fuse_batch_normalization(model)
    optimizer = models.keras.optimizers.AdamW(train_network.LEARNING_RATE, train_network.WEIGHT_DECAY)
    model.compile(optimizer, "categorical_crossentropy")
    optimizer.build(model.trainable_variables)
    variables = model.variables + optimizer.variables
    for _ in range(options.steps):
        before = arrays(variables)
        indices = rng.integers(0, _CLIPS, options.batch_size)
        model.train_on_batch(melgrams[indices], targets[indices])
        names = [variable.path for variable, value in zip(variables, arrays(variables), strict=True)
                 if not np.isfinite(value).all()]
        if names:
            assign(variables, before)
        yield names


if __name__ == "__main__":
    script.run(main)
