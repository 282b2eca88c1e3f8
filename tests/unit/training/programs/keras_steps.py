"""Steps and losses of Keras and TensorFlow as Lamella sets them up, beside torch's: prints JSON.

For each kind of optimiser the largest difference of a weight after five steps, with decay and with
gradients that are shortened; and what ``tensorflow_losses`` finds.
"""

import json

from lamella.models.keras_library import KerasBackend, load_keras, load_tensorflow

RATES = (0.01, 0.02, 0.02, 0.02, 0.02)
# The momentum of Keras is one of steps, torch's one of gradients: they differ where rates do.
CONSTANT = (0.02,) * 5


def main() -> None:
    tf = load_tensorflow()
    import numpy as np
    import torch
    from tensorflow_losses import differences

    from lamella.training.keras_optimiser import KerasOptimiser
    from lamella.training.settings import Optimiser, RunSettings
    from lamella.training.torch_optimiser import build_optimiser, set_learning_rate

    keras = load_keras(KerasBackend.TENSORFLOW)
    generator = np.random.default_rng(3)
    start = generator.normal(size=(4, 3)).astype(np.float32), np.ones(3, dtype=np.float32)
    gradients = [
        [generator.normal(size=each.shape).astype(np.float32) for each in start] for _ in RATES
    ]
    found = {}
    for kind in Optimiser:
        rates = CONSTANT if kind is Optimiser.SGD else RATES
        run = RunSettings(optimiser=kind, weight_decay=0.1, clip_norm=1.5)
        variables = [keras.Variable(each, name=f"v{number}") for number, each in enumerate(start)]
        optimiser = KerasOptimiser(keras, run, variables)
        layer = torch.nn.Linear(4, 3)
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(start[0].T))
            layer.bias.copy_(torch.from_numpy(start[1]))
        expected = build_optimiser(layer, run)
        for rate, (kernel, bias) in zip(rates, gradients, strict=True):
            optimiser.step([tf.constant(kernel), tf.constant(bias)], rate)
            layer.weight.grad = torch.from_numpy(kernel.T.copy())
            layer.bias.grad = torch.from_numpy(bias.copy())
            torch.nn.utils.clip_grad_norm_(layer.parameters(), run.clip_norm)
            set_learning_rate(expected, rate)
            expected.step()
        pairs = zip(variables, (layer.weight.T, layer.bias), strict=True)
        found[kind.value] = max(
            float(np.abs(one.numpy() - other.detach().numpy()).max()) for one, other in pairs
        )
        found[f"{kind.value} moved"] = float(np.abs(variables[0].numpy() - start[0]).min())
    print(json.dumps(found | differences(tf)))


if __name__ == "__main__":
    main()
