"""The networks, and weights.hdf5: one file with the best network so far and all that is needed to go on training.

A new network is one function below, (inputs, class count) → probabilities, entered in NETWORKS: it is then
chosen with NETWORK in train_network.py. A network uses Keras's own layers only, so that
`keras.saving.load_model("weights.hdf5")` opens the file anywhere.
"""

import os
import subprocess
from contextlib import contextmanager, suppress

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow's start-up talk
os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")  # take what GPU memory is needed, not all
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # the same for JAX

import absl.logging
import numpy as np

from audio_utils import safe_files, weights_file
from audio_utils.safe_files import UserError


@contextmanager
def silence():
    """Drop what libraries write to stderr past Python; their exceptions still come through."""
    kept = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


with silence():
    import keras
    from keras import layers

absl.logging.set_verbosity(absl.logging.ERROR)  # weights.hdf5 is HDF5 on purpose


# --- the networks ---------------------------------------------------------------------------------------------------

def vgg(x, classes):
    """The network of the first Panotti (2017): four blocks of 3×3 convolution with 32 filters and 2×2 max-pooling.

    x: (clips, mels, frames, channels), scaled. Pooling comes before the activation: with one that is monotonic the
    result is the same in half the time.
    """
    for block in range(4):
        x = layers.Conv2D(32, 3, padding="valid" if min(x.shape[1:3]) > 4 else "same")(x)
        x = layers.MaxPooling2D([2 if size > 1 else 1 for size in x.shape[1:3]])(x)
        x = layers.Activation("elu" if block else "relu")(x)
        x = layers.Dropout(0.5)(x) if block else layers.BatchNormalization(momentum=0.9)(x)
    x = layers.Dense(128, activation="elu")(layers.Flatten()(x))
    x = layers.Dropout(0.5)(x)
    return layers.Dense(classes, activation="softmax", dtype="float32")(x)


def residual(x, classes, *beside):
    """A small residual network (He et al., CVPR 2016) with global pooling: its size does not grow with the clip.

    x: (clips, mels, frames, channels), scaled. Mean and maximum over what is left of time and frequency both count:
    a steady sound shows in the one, a single event in the other. Beside them goes the spectrum of the whole clip, for
    what convolutions see badly: how one band stands to another far away, as an equalizer changes it.
    beside: further features of the whole clip, each (clips, features).
    """
    x = _with_differences(x)
    spectrum, height = _spectrum(x), _height(x)
    x = layers.Concatenate()([x, _changes(x), height])
    x = layers.MaxPooling2D(2, padding="same")(_convolved(x, 32, 5, strides=2))
    height = layers.AveragePooling2D(4, padding="same")(height)
    for filters, strides in ((32, 1), (64, 2), (128, 2)):
        x = layers.Concatenate()([x, height])
        branch = _convolved(x, filters, 3, strides=strides)
        branch = _convolved(branch, filters, 3, activation=None)
        if strides > 1:
            x, height = (layers.AveragePooling2D(2, padding="same")(each) for each in (x, height))
        x = _convolved(x, filters, 1, activation=None)
        x = layers.Activation("relu")(layers.Add()([x, branch]))
    x = layers.Concatenate()([layers.GlobalAveragePooling2D()(x), layers.GlobalMaxPooling2D()(x), spectrum, *beside])
    x = layers.Dropout(0.3)(x)
    return layers.Dense(classes, activation="softmax", dtype="float32")(x)


def modulation(x, classes):
    """`residual`, and beside it how fast the sound goes up and down: for few clips of many kinds."""
    return residual(x, classes, _modulation(x))


def ensemble(x, classes):
    """Three residual networks side by side, from different first weights, and the mean of what they say.

    Each is trained by itself, on the same clips: Lakshminarayanan et al., "Simple and Scalable Predictive Uncertainty
    Estimation using Deep Ensembles", NeurIPS 2017, section 2.4. It takes two to three times as long.
    """
    return layers.Average(dtype="float32")([residual(x, classes) for _ in range(3)])


def _spectrum(x):
    """64 features of the mean and the maximum over time of each band and channel."""
    size = 1, x.shape[2]  # in float32: the mean is of many
    x = [pooling(size, dtype="float32")(x) for pooling in (layers.AveragePooling2D, layers.MaxPooling2D)]
    return _summary(layers.Flatten()(layers.Concatenate()(x)))


def _modulation(x):
    """64 features of the modulation spectrum: how strongly every eight bands go up and down, at which rates.

    It is the logarithm of the magnitudes of 64 frames, averaged over the clip. After the modulation spectrogram of
    Greenberg and Kingsbury, ICASSP 1997, p. 1647.
    """
    x = layers.AveragePooling2D((8, 1), padding="same", dtype="float32")(_changes(x))
    x = layers.Reshape((x.shape[2], -1), dtype="float32")(layers.Permute((2, 1, 3), dtype="float32")(x))
    x = layers.STFTSpectrogram("log", 64, 16, scaling=None, padding="same", trainable=False, dtype="float32")(x)
    x = layers.GlobalAveragePooling1D(dtype="float32")(x)
    return _summary(layers.BatchNormalization(momentum=0.9, dtype="float32")(x))


def _summary(x):
    """(clips, features) → (clips, 64)."""
    x = layers.Dense(64, use_bias=False, kernel_initializer="he_normal")(layers.Dropout(0.3)(x))
    return layers.Activation("relu")(layers.BatchNormalization(momentum=0.9)(x))


def _height(x):
    """(clips, mels, frames, channels) → (clips, mels, frames, 1): where each band lies, from -√3 to √3: of variance 1.

    A convolution is the same at every height, so what it finds in the bass it takes for the same in the treble; with
    this beside its input it need not: Liu et al., "An Intriguing Failing of Convolutional Neural Networks and the
    CoordConv Solution", NeurIPS 2018, section 3.
    """
    heights = np.sqrt(3) * np.linspace(-1, 1, x.shape[1])
    nothing = layers.Conv2D(1, 1, use_bias=False, kernel_initializer="zeros", trainable=False, dtype="float32")(x)
    return layers.Normalization(axis=1, mean=-heights, variance=np.ones_like(heights), dtype="float32")(nothing)


def _with_differences(x):
    """Beside several channels, how far each lies above the first, in the unit of dB: where a sound comes from.

    It is a frozen convolution and no subtraction because `load_model` opens a layer from HDF5, but no operation.
    """
    channels = x.shape[-1]
    if channels == 1:
        return x
    subtract = layers.Conv2D(channels - 1, 1, use_bias=False, trainable=False, dtype="float32")
    differences = subtract(x)
    subtract.set_weights([np.concatenate([-np.ones((1, channels - 1)), np.eye(channels - 1)])[None, None]])
    return layers.Concatenate()([x, differences])


def _changes(x):
    """How far each band lies above its own mean over time.

    What a microphone or a room does to a band all the while is not in it: cepstral mean normalization (Atal, J. Acoust.
    Soc. Am. 55, 1974, p. 1304), here of the bands themselves.
    """
    mean = layers.AveragePooling2D((1, x.shape[2]), dtype="float32")(x)
    return layers.Subtract(dtype="float32")([x, mean])


def _convolved(x, filters, size, strides=1, activation="relu"):
    """Convolution, batch normalization (its averages over some 10 steps, for small data sets), activation."""
    x = layers.Conv2D(filters, size, strides, padding="same", use_bias=False, kernel_initializer="he_normal")(x)
    x = layers.BatchNormalization(momentum=0.9)(x)
    return layers.Activation(activation)(x) if activation else x


NETWORKS = {"residual": residual, "modulation": modulation, "ensemble": ensemble, "vgg": vgg}


def build(network, shape, classes, scaling, precision="float32"):
    """A network for melgrams of `shape` (mels, frames, channels), in dB.

    What it hears first is how far all lies below the loudest place of the clip, in the unit of each band's standard
    deviation: so the gain of a recording is nothing to it, and the channels' differences stay.
    precision: Keras's name of a dtype policy; with "mixed_bfloat16" weights stay float32.
    """
    with _dtype_policy(precision):
        inputs = keras.Input(shape)
        below = layers.Subtract(dtype="float32")([inputs, _loudest(inputs)])
        scaled = layers.Normalization(axis=1, mean=scaling.mean, variance=scaling.variance, dtype="float32")(below)
        return keras.Model(inputs, NETWORKS[network](scaled, classes), name=network)


def members(model):
    """The networks of an ensemble as one, (clips, …) → (clips, members, classes), before their mean; else None.

    An ensemble is a network that ends in a `layers.Average`: of such a one each member is trained by itself.
    """
    if not isinstance(model.layers[-1], layers.Average):
        return None
    said = [layers.Reshape((1, model.output_shape[-1]), dtype="float32")(each) for each in model.layers[-1].input]
    return keras.Model(model.input, layers.Concatenate(axis=1, dtype="float32")(said))


def _loudest(melgrams):
    """(clips, mels, frames, channels) → (clips, 1, 1, 1), by layers that `load_model` knows."""
    mels, frames, channels = melgrams.shape[1:]
    row = layers.Reshape((mels, frames * channels, 1), dtype="float32")(melgrams)
    return layers.GlobalMaxPooling2D(keepdims=True, dtype="float32")(row)


@contextmanager
def _dtype_policy(name):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


# --- the machine ----------------------------------------------------------------------------------------------------

def device():
    """The backend's own name of where it computes: "CPU:0", "GPU:0", "cuda:0", ..."""
    return str(keras.Variable(0.0, trainable=False).value.device).rpartition("device:")[2]


def on_gpu():
    """Whether the backend computes elsewhere than on the processor."""
    return "cpu" not in device().lower()


def best_precision():
    """bfloat16 where the processor or the GPU multiplies it and the backend makes use of that, else float32."""
    if on_gpu():
        return "mixed_bfloat16" if compute_capability() >= 8 else "float32"
    if keras.config.backend() == "tensorflow":
        with suppress(OSError), open("/proc/cpuinfo") as file:
            flags = file.read()
            if "avx512_bf16" in flags or "amx_bf16" in flags:
                return "mixed_bfloat16"
    return "float32"


def compute_capability():
    """That of NVIDIA's GPUs here, the least where they differ; 0 where there is none. From 8 on they have bfloat16."""
    with suppress(OSError, ValueError):
        said = subprocess.run(["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"],
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
        return min(map(float, said.split()), default=0)
    return 0


def speed_up(model):
    """Let batch normalization train by the one kernel that TensorFlow has for it, where it computes on the processor.

    Keras spells it out in a dozen operations, which take a third of the time of an epoch. What is computed is the
    same, but for the moving variance: that is of n - 1 values, not n. What is saved of the layers stays Keras's own.
    """
    if keras.config.backend() == "tensorflow" and not on_gpu():
        for layer in model.layers:
            if isinstance(layer, layers.BatchNormalization) and layer.axis in (-1, 3) and layer.scale and layer.center:
                layer.call = _in_one_kernel(layer)


def _in_one_kernel(layer):
    from tensorflow import raw_ops, zeros
    in_many = layer.call

    def call(inputs, training=None, mask=None):
        if not training or mask is not None or len(inputs.shape) != 4:
            return in_many(inputs, training, mask)
        result = raw_ops.FusedBatchNormV3(x=inputs, scale=layer.gamma.value, offset=layer.beta.value, mean=zeros(0),
                                          variance=zeros(0), epsilon=layer.epsilon, is_training=True)
        for moving, now in ((layer.moving_mean, result.batch_mean), (layer.moving_variance, result.batch_variance)):
            moving.assign(layer.momentum * moving + (1 - layer.momentum) * now)
        return result.y

    return call


# --- weights.hdf5 ---------------------------------------------------------------------------------------------------

def save(path, trained, model, best, average, optimizer):
    """Write the best network and the state of training in one step, durably.

    model: with its last weights; it keeps them. best: the arrays of model.weights that did best in validation; average:
    those of their moving average.
    """
    last = arrays(model.variables)
    places = [f"model_weights/{layer.name}/{weight.path}" for layer in model.layers for weight in layer.weights]
    with weights_file.InMemory() as file:
        model.set_weights(best)
        model.save(file, include_optimizer=False)
        _assign(model.variables, last)
        weights_file.write(file, trained._replace(weights=places), last=last, average=average,
                           optimizer=arrays(optimizer.variables))
        safe_files.write_bytes(path, file.image())


def load(path, trained):
    """The best network, in float32, for prediction; trained: what `weights_file.read` gave."""
    what = known_network(path, trained), trained.settings.shape, len(trained.class_names), trained.scaling
    with keras.StatelessScope(initialize_variables=False):  # its shapes alone: a damaged file may ask for any size
        sketch = build(*what)
    best = weights_file.read_best(path, trained, sketch.weights)
    model = build(*what)
    _assign(model.weights, best)
    return model


def restore(path, trained, model, optimizer):
    """Bring a network and its optimizer to where training was; returns the arrays (best, average) that `save` took."""
    optimizer.build(model.trainable_variables)
    _assign(model.variables, weights_file.read_state(path, "last", model.variables))
    _assign(optimizer.variables, weights_file.read_state(path, "optimizer", optimizer.variables))
    return (weights_file.read_best(path, trained, model.weights),
            weights_file.read_state(path, "average", model.weights))


def known_network(path, trained):
    """The name of the file's network; refuses one that is not among NETWORKS."""
    if trained.network not in NETWORKS:
        raise UserError(f"{path}: holds the network {trained.network!r}, which panotti_models.py does not have "
                        f"({', '.join(NETWORKS)}); put it back or train anew.")
    return trained.network


def arrays(variables):
    """The values of variables as they are now; on torch, NumPy's own view of one would change with it."""
    return [np.array(keras.ops.convert_to_numpy(variable)) for variable in variables]


def _assign(variables, arrays):
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)


@contextmanager
def with_weights(model, weights):
    """Within, the model has other weights: arrays as those of model.weights."""
    own = arrays(model.weights)
    _assign(model.weights, weights)
    try:
        yield
    finally:
        _assign(model.weights, own)


def predict(model, melgrams, batch_size=64, places=None):
    """Probabilities float32 (clips, classes) for melgrams (clips, mels, frames, channels), or those at `places`."""
    places = np.arange(len(melgrams)) if places is None else places
    parts = [np.asarray(model.predict_on_batch(melgrams[places[start:start + batch_size]]))
             for start in range(0, len(places), batch_size)]
    return np.concatenate(parts) if parts else np.zeros((0, model.output_shape[-1]), np.float32)
