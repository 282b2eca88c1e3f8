"""A rank makes one step, stores its batch and the averaged gradients: INDEX OUTPUT BACKEND."""

import sys
from pathlib import Path

from lamella.training.lifeline import end_with_launcher

BATCH_SIZE = 4
PARTS = 2


def main(index: Path, output: Path, backend: str) -> None:
    import torch

    from lamella.datasets.batches import Schedule, training_batches
    from lamella.datasets.patches import PatchDataset
    from lamella.datasets.settings import AugmentSettings, Sampling
    from lamella.datasets.targets import class_targets
    from lamella.models.networks import build_network
    from lamella.models.preprocess import Preprocessing
    from lamella.patches.index import read_index
    from lamella.settings import Device
    from lamella.training.settings import Backend, RunSettings
    from lamella.training.torch_arithmetic import prepare_arithmetic
    from lamella.training.torch_group import average_statistics, join_torch_group
    from lamella.training.torch_step import backward

    group = join_torch_group(Backend(backend))
    arithmetic = prepare_arithmetic(RunSettings(), Device.CPU, gpu=0)
    # Other weights on every rank, so that the test sees whether they are shared.
    torch.manual_seed(group.rank)
    network = build_network("test_resnet", 2).double()
    # Some scales of batch normalisation start at 0, which would hide the gradients behind them.
    for weight in network.parameters():
        if not weight.any():
            torch.nn.init.normal_(weight)
    # The order of axes that no backend exchanges by itself.
    network = network.to(memory_format=torch.channels_last)
    group.share_weights(network)
    weights = {key: value.clone() for key, value in network.state_dict().items()}
    learner = group.replica(network, parts=PARTS)
    optimiser = group.averaging(torch.optim.SGD(network.parameters(), lr=0.0), network, parts=PARTS)

    # 13 samples a step: the ranks get 7 and 6, in parts of 4 and 3, 3 and 3.
    schedule = Schedule(BATCH_SIZE * PARTS, group.size, 5, Sampling.NATURAL, 13, AugmentSettings())
    patches = read_index(index)
    dataset = PatchDataset(patches, class_targets(patches), "train", max_open_shards=2)
    found = {"weights": weights}
    for mode, training in (("evaluation", False), ("training", True)):
        network.train(training)
        (batch,) = training_batches(dataset, schedule, epoch=1, rank=group.rank)
        optimiser.zero_grad()
        backward(
            learner, Preprocessing().double(), batch, arithmetic, ranks=group.size, parts=PARTS
        )
        group.average_gradients(optimiser)
        found[mode] = group.gather({k: v.grad for k, v in network.named_parameters()})
    found["statistics"] = group.gather({k: v.clone() for k, v in network.named_buffers()})
    average_statistics(network, group)
    found["averaged"] = group.gather({k: v.clone() for k, v in network.named_buffers()})
    for name, mine in (("images", batch.images), ("labels", batch.targets)):
        found[name] = [torch.from_numpy(each) for each in group.gather(mine)]
    if group.rank == 0:
        torch.save(found, output)


if __name__ == "__main__":
    end_with_launcher()
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
