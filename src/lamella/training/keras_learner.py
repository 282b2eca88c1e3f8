"""A network of Keras that learns by TensorFlow."""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from lamella.datasets.batches import Batch
from lamella.datasets.settings import TargetKind
from lamella.datasets.targets import Targets
from lamella.models.keras_library import load_tensorflow
from lamella.models.keras_networks import (
    KerasNetwork,
    build_keras_network,
    check_keras_size,
    stored_variables,
)
from lamella.models.keras_weights import freeze_keras, load_keras_weights
from lamella.models.preprocess import MEAN, STANDARD_DEVIATION
from lamella.models.settings import Preparation
from lamella.models.weights import Weights
from lamella.patches.index import PatchIndex
from lamella.training.keras_group import KerasGroup, join_keras_group
from lamella.training.keras_optimiser import KerasOptimiser
from lamella.training.meeting_place import local_rank
from lamella.training.settings import Precision, RunSettings, TrainingSettings
from lamella.training.tensorflow_arithmetic import prepare_tensorflow
from lamella.training.tensorflow_loss import sum_of_losses

tf = load_tensorflow()

_LAYER_STRIDE = 7919
"""Keeps the seeds of the layers that draw apart."""


class KerasLearner:
    """One rank's network and optimiser; see ``Learner``.

    Args:
        keras: The module.
        run: How the network is trained.
        group: All ranks.
        network: What learns.
        judged: The same in float32, which gives answers; ``network`` itself where that learns so.
        patch_px: Edge length of a patch.
        targets: What is learned; only what it is, and in which units, counts.
    """

    def __init__(
        self,
        keras: Any,
        run: RunSettings,
        group: KerasGroup,
        network: KerasNetwork,
        judged: KerasNetwork,
        *,
        patch_px: int,
        targets: Targets,
    ) -> None:
        self.run = run
        self.group = group
        self._targets = targets
        self.network = network
        self._judged = judged
        self.learning = freeze_keras(keras, network.model, run.freeze)
        self._optimiser = KerasOptimiser(keras, run, self.learning)
        self._normalisations = [
            layer
            for layer in network.model.layers
            if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable
        ]
        self._drawing = [
            layer.seed_generator.state
            for layer in network.model.layers
            if isinstance(layer, keras.layers.Dropout)
        ]
        self.mean_gradients: list[Any] = []
        self._no_gradients = [tf.zeros(each.shape, each.dtype) for each in self.learning]
        # Graphs for any number of samples: those for one number would compute in another order, and
        # a training that goes on in the middle of an epoch would end in other bits.
        images = tf.TensorSpec((None, patch_px, patch_px, 3), tf.uint8)
        truth = tf.TensorSpec((None, *targets.truth.shape[1:]), targets.truth.dtype)
        part = [images, truth, tf.TensorSpec((), tf.float64)]
        part.append([tf.TensorSpec(each.shape, each.dtype) for each in self.learning])
        self._add_part = tf.function(self._gradients_with, input_signature=part)
        self._finish = tf.function(self._mean_gradients_with, input_signature=part)
        self._answers = tf.function(self._answers_to, input_signature=[images])

    @classmethod
    def build(
        cls,
        index: PatchIndex,
        targets: Targets,
        run: RunSettings,
        *,
        seed: int,
        training: TrainingSettings,
    ) -> Self:
        """Return a learner at its beginning; see ``build_learner``."""
        group = join_keras_group(training.backend, training.device)
        keras = prepare_tensorflow(run, training.device, gpu=local_rank())
        keras.utils.set_random_seed(seed % 2**32)
        outputs = len(targets.names)
        judged = build_keras_network(keras, run.model, outputs, run.head)
        check_keras_size(judged, run.model, index.patch_px)
        network = judged
        if run.precision is Precision.BFLOAT16:
            network = build_keras_network(
                keras, run.model, outputs, run.head, policy="mixed_bfloat16"
            )
        if run.weights is not None:
            prepared = run.weights_prepared or Preparation.LAMELLA
            load_keras_weights(network, run.weights, prepared=prepared)
        learner = cls(keras, run, group, network, judged, patch_px=index.patch_px, targets=targets)
        learner.share_weights(None)
        return learner

    def start_learning(self, *, seed: int, random: list[list[int]] | None = None) -> None:
        """Get ready for the steps of an epoch: dropout draws from generators of its layers."""
        for number, state in enumerate(self._drawing):
            fresh = [(seed + _LAYER_STRIDE * number) % 2**32, 0]
            state.assign(np.array(random[number] if random else fresh, dtype=np.uint32))

    def random_state(self) -> list[list[int]]:
        """Return the states of the generators of the layers that draw."""
        return [state.numpy().tolist() for state in self._drawing]

    def backward(self, batch: Batch) -> float:
        """Compute the mean gradients over the ranks; return the sum of this rank's losses."""
        weight = tf.constant(self.group.size / batch.joint_size, tf.float64)
        parts = self.run.accumulate
        pairs = (np.array_split(each, parts) for each in (batch.images, batch.targets))
        *former, (images, truth) = zip(*pairs, strict=True)
        total, sums = 0.0, self._no_gradients
        for part in former:
            loss, sums = self._add_part(*map(tf.constant, part), weight, sums)
            total += float(loss)
        with self.group.waiting():
            loss, self.mean_gradients = self._finish(
                tf.constant(images), tf.constant(truth), weight, sums
            )
        return total + float(loss)

    def step(self, rate: float) -> None:
        """Change the weights along the mean gradient of all ranks."""
        self._optimiser.step(self.mean_gradients, rate)

    def share_statistics(self) -> None:
        """Give all ranks the mean of their running statistics."""
        self.group.average_variables(self._statistics())
        self._prepare_answers()

    def answers(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the answers to patches, ``(n, outputs)``."""
        found: NDArray[np.float32] = self._answers(tf.constant(images)).numpy()
        return found

    def weights(self) -> Weights:
        """Return weights and running statistics, as they are stored."""
        return _stored(stored_variables(self.network))

    def statistics(self) -> Weights:
        """Return the running statistics of this rank."""
        return _stored({each.path: each for each in self._statistics()})

    def set_statistics(self, statistics: Weights) -> None:
        """Give this rank its running statistics."""
        for variable in self._statistics():
            variable.assign(statistics[variable.path].numpy())

    def share_weights(self, weights: Weights | None) -> None:
        """Give every rank the weights and running statistics of rank 0."""
        variables = stored_variables(self.network)
        for path, tensor in (weights or {}).items():
            variables[path].assign(tensor.numpy())
        self.group.share_variables(list(variables.values()))
        self._prepare_answers()

    def optimiser_state(self) -> dict[str, Any]:
        """Return what the optimiser keeps, in its order."""
        kept = self._optimiser.optimiser.variables
        return {"optimiser": [torch.from_numpy(np.asarray(each.numpy())) for each in kept]}

    def set_optimiser_state(self, state: dict[str, Any]) -> None:
        """Give the optimiser its state."""
        pairs = zip(self._optimiser.optimiser.variables, state["optimiser"], strict=True)
        for variable, tensor in pairs:
            variable.assign(tensor.numpy())

    def _statistics(self) -> list[Any]:
        return [
            variable
            for layer in self._normalisations
            for variable in (layer.moving_mean, layer.moving_variance)
        ]

    def _prepare_answers(self) -> None:
        """Give the network that is judged the weights of the one that learns."""
        if self._judged is not self.network:
            self._judged.model.set_weights(self.network.model.get_weights())

    def _gradients_with(
        self, images: Any, truth: Any, weight: Any, sums: Sequence[Any]
    ) -> tuple[Any, list[Any]]:
        """Return the sum of the losses, and the gradients added to those of former parts."""
        with tf.GradientTape() as tape:
            outputs = self.network.model(normalised(images), training=True)
            loss = sum_of_losses(outputs, truth, self._targets.kind)
            weighted = loss * tf.cast(weight, loss.dtype)
        found = tape.gradient(weighted, [variable.value for variable in self.learning])
        return loss, [each + before for each, before in zip(found, sums, strict=True)]

    def _mean_gradients_with(
        self, images: Any, truth: Any, weight: Any, sums: Sequence[Any]
    ) -> tuple[Any, list[Any]]:
        """Return the same, averaged over the ranks."""
        loss, found = self._gradients_with(images, truth, weight, sums)
        return loss, self.group.mean_of(found)

    def _answers_to(self, images: Any) -> Any:
        outputs = self._judged.model(normalised(images), training=False)
        return answers_of(outputs, self._targets)


def answers_of(outputs: Any, targets: Targets) -> Any:
    """Return answers from raw outputs; ``lamella.models.activation`` in TensorFlow."""
    if targets.kind is TargetKind.CLASSES:
        return tf.nn.softmax(outputs)
    if targets.scale is None:
        return tf.nn.sigmoid(outputs)
    means, deviations = targets.scale.means, targets.scale.deviations
    return tf.constant(means, outputs.dtype) + tf.constant(deviations, outputs.dtype) * outputs


def normalised(images: Any) -> Any:
    """Return normalised images from stored pixels; ``lamella.models.preprocess`` in TensorFlow."""
    mean, deviation = (tf.constant(each) for each in (MEAN, STANDARD_DEVIATION))
    return (tf.cast(images, tf.float32) / 255.0 - mean) / deviation


def _stored(variables: dict[str, Any]) -> Weights:
    return {path: torch.from_numpy(each.numpy()) for path, each in variables.items()}
