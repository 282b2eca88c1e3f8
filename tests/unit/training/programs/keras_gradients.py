"""A rank of TensorFlow averages its gradients; rank 0 compares them with the joined batch's.

Arguments: INDEX OUTPUT. In double precision, batch normalisation in evaluation mode.
"""

import sys
from pathlib import Path

from lamella.training.lifeline import end_with_launcher

BATCH_SIZE = 4
PARTS = 2


def main(index: Path, output: Path) -> None:
    from lamella.models.keras_library import KerasBackend, load_keras, load_tensorflow

    tf = load_tensorflow()
    import numpy as np

    from lamella.datasets.batches import Schedule, training_batches
    from lamella.datasets.patches import PatchDataset
    from lamella.datasets.settings import AugmentSettings, Sampling
    from lamella.datasets.targets import class_targets
    from lamella.patches.index import read_index
    from lamella.stores.json_files import write_json
    from lamella.training.keras_learner import KerasLearner, normalised
    from lamella.training.settings import Backend, RunSettings, TrainingSettings

    load_keras(KerasBackend.TENSORFLOW).config.set_floatx("float64")
    run = RunSettings(
        framework="tensorflow",
        model="resnet50",
        batch_size=BATCH_SIZE,
        accumulate=PARTS,
        freeze=("*_bn/*",),
    )
    patches = read_index(index)
    targets = class_targets(patches)
    training = TrainingSettings(backend=Backend.HOROVOD, processes=2)
    learner = KerasLearner.build(patches, targets, run, seed=5, training=training)
    group = learner.group

    # 13 samples a step: the ranks get 7 and 6, in parts of 4 and 3, 3 and 3.
    schedule = Schedule(BATCH_SIZE * PARTS, group.size, 5, Sampling.NATURAL, 13, AugmentSettings())
    dataset = PatchDataset(patches, targets, "train", max_open_shards=2)
    (batch,) = training_batches(dataset, schedule, epoch=1, rank=group.rank)
    loss = learner.backward(batch)
    found = [gradient.numpy() for gradient in learner.mean_gradients]
    images, labels, losses = (group.gather(each) for each in (batch.images, batch.targets, loss))
    all_found = group.gather([gradient.sum().item() for gradient in found])
    if group.rank:
        return

    network, weights = learner.network.model, learner.learning

    @tf.function
    def plain(images: tf.Tensor, labels: tf.Tensor) -> tuple:
        # A graph, too: TensorFlow turns divisions by constants into products there.
        with tf.GradientTape() as tape:
            logits = network(normalised(images), training=False)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
            mean = tf.reduce_mean(losses)
        return mean, tape.gradient(mean, [weight.value for weight in weights])

    expected_loss, expected = plain(
        tf.constant(np.concatenate(images)), tf.constant(np.concatenate(labels))
    )
    differences = [
        float(np.abs(mean - one.numpy()).max() / np.abs(one.numpy()).max())
        for mean, one in zip(found, expected, strict=True)
    ]
    write_json(
        output,
        {
            "samples": [len(each) for each in labels],
            "different": len(np.unique(np.concatenate(images).reshape(13, -1), axis=0)),
            "weights": len(differences),
            "largest": max(differences),
            "loss": sum(losses) / 13,
            "expected_loss": float(expected_loss),
            "sums": all_found,
        },
    )


if __name__ == "__main__":
    end_with_launcher()
    main(Path(sys.argv[1]), Path(sys.argv[2]))
