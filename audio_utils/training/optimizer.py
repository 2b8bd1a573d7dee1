"""The optimizers: Muon, and Keras's AdamW."""

from typing import Any

from panotti_models import keras

_MOMENTUM = 0.95
_COEFFICIENTS = 3.4445, -4.7750, 2.0315  # of the Newton-Schulz iteration
_ITERATIONS = 5
_UPDATE_RMS = 0.2  # of an update; AdamW's is similar, so the same learning rate and weight decay suit both


def create(name: str, model: keras.Model, learning_rate: float, weight_decay: float) -> keras.optimizers.Optimizer:
    """The optimizer for a model; name: "muon" or "adamw"."""
    if name == "muon":
        return Muon(learning_rate, weight_decay, _output_layers(model))
    return keras.optimizers.AdamW(learning_rate, weight_decay=weight_decay)


def _output_layers(model: keras.Model) -> list[str]:
    """The names of the layers that give probabilities; an ensemble has several."""
    return [layer.name for layer in model.layers if getattr(layer, "activation", None) is keras.activations.softmax]


class Muon(keras.optimizers.AdamW):
    """Muon for the kernels of hidden layers, AdamW for all other variables.

    The update of a kernel, taken as a matrix (inputs, outputs), is its Nesterov momentum with all singular values
    replaced by about 1: Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024; scaled as in
    Liu et al., "Muon is Scalable for LLM Training", arXiv 2502.16982, eq. 4. keras.optimizers.Muon would leave
    the kernels of convolutions to AdamW.
    output_layers: names of the layers whose kernels are left to AdamW.
    """

    def __init__(self, learning_rate: float, weight_decay: float, output_layers: list[str]) -> None:
        super().__init__(learning_rate, weight_decay=weight_decay)
        self._output_layers = output_layers

    def build(self, variables: list[keras.Variable]) -> None:
        """Create the momentums and choose the variables that are updated by Muon."""
        super().build(variables)
        self._hidden_kernels = {self._get_variable_index(each) for each in variables if self._is_hidden_kernel(each)}

    def _is_hidden_kernel(self, variable: keras.Variable) -> bool:
        layer, _, name = variable.path.rpartition("/")
        return name == "kernel" and layer not in self._output_layers

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Update one variable."""
        index = self._get_variable_index(variable)
        if index not in self._hidden_kernels:
            super().update_step(gradient, variable, learning_rate)
            return
        momentum = self._momentums[index]
        self.assign(momentum, _MOMENTUM * momentum + gradient)
        matrix = keras.ops.reshape(gradient + _MOMENTUM * momentum, (-1, variable.shape[-1]))
        scale = learning_rate * _UPDATE_RMS * max(matrix.shape) ** 0.5
        self.assign_sub(variable, keras.ops.reshape(scale * orthogonalized(matrix), variable.shape))


def orthogonalized(matrix: Any) -> Any:
    """The matrix with its singular values replaced by 0.7 to 1.2, by Newton-Schulz iterations.

    Each iteration multiplies the matrix by a polynomial of its Gram matrix. Here, the polynomials are multiplied first:
    the Gram matrix is smaller, so this takes less than half of the operations.
    """
    ops, (a, b, c) = keras.ops, _COEFFICIENTS
    if matrix.shape[0] < matrix.shape[1]:
        return ops.transpose(orthogonalized(ops.transpose(matrix)))
    matrix = matrix / (ops.norm(matrix) + 1e-7)
    gram = ops.transpose(matrix) @ matrix
    identity = product = ops.eye(matrix.shape[1], dtype=matrix.dtype)
    for _ in range(_ITERATIONS):
        polynomial = a * identity + b * gram + c * gram @ gram
        product = product @ polynomial
        gram = polynomial @ gram @ polynomial
    return matrix @ product
