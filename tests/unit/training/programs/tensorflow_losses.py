"""Losses, their gradients and the answers in TensorFlow, beside torch's: the largest differences.

The losses of parts of a batch, weighted as those of ranks, add up to the mean of the whole.
"""

from typing import Any

import numpy as np


def differences(tf: Any) -> dict[str, float]:
    import torch

    from lamella.datasets.settings import TargetKind
    from lamella.datasets.targets import Scale, Targets
    from lamella.models.activation import OutputActivation
    from lamella.training.keras_learner import answers_of
    from lamella.training.tensorflow_loss import sum_of_losses
    from lamella.training.torch_loss import sum_of_losses as sum_in_torch

    generator = np.random.default_rng(7)
    outputs = generator.normal(0, 2, (7, 3)).astype(np.float32)
    labels = np.array([[1, 0, np.nan], [0, np.nan, np.nan]] * 3 + [[0, 1, 1]], dtype=np.float32)
    scale = Scale(np.array([50.0, 0.002, -3.0]), np.array([9.0, 0.001, 2.0]))
    learned = {
        TargetKind.CLASSES: (np.arange(7) % 3, None),
        TargetKind.MULTI_LABEL: (labels, None),
        TargetKind.REGRESSION: (labels + outputs[::-1], scale),
    }
    found = {}
    for kind, (truth, units) in learned.items():
        variable = tf.Variable(outputs)
        with tf.GradientTape() as tape:
            parts = zip(tf.split(variable, [4, 3]), np.split(truth, [4]), strict=True)
            loss = sum(sum_of_losses(part, tf.constant(true), kind) for part, true in parts) / 7
        expected = torch.from_numpy(outputs.copy()).requires_grad_()
        mean = sum_in_torch(expected, torch.from_numpy(truth), kind) / 7
        mean.backward()
        gradient = tape.gradient(loss, variable).numpy() - expected.grad.numpy()
        answers = answers_of(tf.constant(outputs), Targets(kind, ("a", "b", "c"), truth, units))
        in_torch = OutputActivation(kind, units)(torch.from_numpy(outputs)).numpy()
        found |= {
            f"{kind} loss": abs(float(loss) - mean.item()),
            f"{kind} gradient": float(np.abs(gradient).max()),
            f"{kind} answers": float(np.abs(answers.numpy() / in_torch - 1).max()),
        }
    return found
