"""The optimiser of a network of Keras, which steps as that of torch does."""

from collections.abc import Sequence
from typing import Any

from lamella.models.keras_library import load_tensorflow
from lamella.training.settings import Optimiser, RunSettings

tf = load_tensorflow()

_MOMENTUM = 0.9
_EPSILON = 1e-8
"""Torch's, of Adam; Keras has 1e-7."""


class KerasOptimiser:
    """Changes weights along gradients; biases and normalisation layers do not decay.

    Args:
        keras: The module.
        run: Kind of the optimiser, weight decay, longest gradient.
        variables: The weights that learn.

    Source:
        See ``lamella.training.torch_optimiser``.
    """

    def __init__(self, keras: Any, run: RunSettings, variables: Sequence[Any]) -> None:
        self._clip_norm = run.clip_norm
        self._variables = list(variables)
        fixed = [variable for variable in variables if len(variable.shape) <= 1]
        decoupled = run.optimiser is Optimiser.ADAMW
        # With `adam` and `sgd` the decay is a part of the gradient, which Keras does not do.
        self._decay = 0.0 if decoupled else run.weight_decay
        self.optimiser = _optimiser(keras.optimizers, run)
        if decoupled and fixed:
            self.optimiser.exclude_from_weight_decay(var_list=fixed)
        self.optimiser.build(self._variables)
        self._apply = tf.function(self._apply_gradients)

    def step(self, gradients: Sequence[Any], rate: float) -> None:
        """Change the weights along gradients, one for each of them.

        Args:
            gradients: In the order of the weights.
            rate: The learning rate.
        """
        self.optimiser.learning_rate.assign(rate)
        self._apply(list(gradients))

    def _apply_gradients(self, gradients: list[Any]) -> None:
        if self._clip_norm is not None:
            gradients, _ = tf.clip_by_global_norm(gradients, self._clip_norm)
        if self._decay:
            pairs = zip(gradients, self._variables, strict=True)
            gradients = [
                gradient + self._decay * variable.value if len(variable.shape) > 1 else gradient
                for gradient, variable in pairs
            ]
        self.optimiser.apply(gradients)


def _optimiser(optimizers: Any, run: RunSettings) -> Any:
    rate = run.learning_rate
    match run.optimiser:
        case Optimiser.SGD:
            return optimizers.SGD(rate, momentum=_MOMENTUM, nesterov=True)
        case Optimiser.ADAM:
            return optimizers.Adam(rate, epsilon=_EPSILON)
        case Optimiser.ADAMW:
            return optimizers.AdamW(rate, epsilon=_EPSILON, weight_decay=run.weight_decay)
