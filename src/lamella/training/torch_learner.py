"""A network of torch that learns."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer

from lamella.datasets.batches import Batch
from lamella.datasets.targets import Targets
from lamella.models.activation import OutputActivation
from lamella.models.networks import InferenceNetwork, build_network, check_size
from lamella.models.preprocess import Preprocessing
from lamella.models.weights import (
    Weights,
    freeze,
    load_weights,
    set_learning_mode,
    stored_weights,
)
from lamella.patches.index import PatchIndex
from lamella.training.meeting_place import local_rank
from lamella.training.settings import RunSettings, TrainingSettings
from lamella.training.torch_arithmetic import Arithmetic, Forward, compiled, prepare_arithmetic
from lamella.training.torch_group import TorchGroup, average_statistics, join_torch_group
from lamella.training.torch_optimiser import build_optimiser, set_learning_rate
from lamella.training.torch_step import backward


@dataclass(frozen=True)
class TorchLearner:
    """One rank's network and optimiser; see ``Learner``.

    Attributes:
        run: How the network is trained.
        group: All ranks.
        network: From normalised images to the outputs of the last layer.
        forward: What the forward pass in training goes through: the network itself, or made to
            compile, or to average gradients.
        preprocessing: From stored pixels to normalised images.
        activation: From outputs to answers.
        arithmetic: Where and in which numbers to compute.
        optimiser: It steps along the mean gradient of all ranks.
    """

    run: RunSettings
    group: TorchGroup
    network: nn.Module
    forward: Forward
    preprocessing: Preprocessing
    activation: OutputActivation
    arithmetic: Arithmetic
    optimiser: Optimizer

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
        group = join_torch_group(training.backend, training.device)
        arithmetic = prepare_arithmetic(run, training.device, gpu=local_rank())
        torch.manual_seed(seed)
        network = _starting_network(run, index, outputs=len(targets.names)).to(arithmetic.device)
        if run.channels_last:
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        group.share_weights(network)
        forward = compiled(network, arithmetic.device) if run.compile else network
        optimiser = build_optimiser(network, run)
        return cls(
            run=run,
            group=group,
            network=network,
            forward=group.replica(forward, parts=run.accumulate),
            preprocessing=Preprocessing().to(arithmetic.device),
            activation=OutputActivation(targets.kind, targets.scale).to(arithmetic.device),
            arithmetic=arithmetic,
            optimiser=group.averaging(optimiser, network, parts=run.accumulate),
        )

    def start_learning(self, *, seed: int, random: list[torch.Tensor] | None = None) -> None:
        """Get ready for the steps of an epoch; dropout draws from torch's generators."""
        set_learning_mode(self.network)
        if random is None:
            torch.manual_seed(seed)
        else:
            self.arithmetic.set_random_state(random)

    def random_state(self) -> list[torch.Tensor]:
        """Return the states of torch's generators."""
        return self.arithmetic.random_state()

    def backward(self, batch: Batch) -> float:
        """Compute the gradients of this rank's batch; return the sum of the samples' losses."""
        self.optimiser.zero_grad()
        return backward(
            self.forward,
            self.preprocessing,
            batch,
            self.arithmetic,
            ranks=self.group.size,
            parts=self.run.accumulate,
            kind=self.run.target.kind,
        )

    def step(self, rate: float) -> None:
        """Change the weights along the mean gradient of all ranks."""
        scaler = self.arithmetic.scaler
        set_learning_rate(self.optimiser, rate)
        self.group.average_gradients(self.optimiser)
        scaler.unscale_(self.optimiser)
        if self.run.clip_norm is not None:
            clip_grad_norm_(self.network.parameters(), self.run.clip_norm)
        with self.group.stepping(self.optimiser):
            scaler.step(self.optimiser)
        scaler.update()

    def share_statistics(self) -> None:
        """Give all ranks the mean of their running statistics."""
        average_statistics(self.network, self.group)

    def answers(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the answers to patches, ``(n, outputs)``."""
        inference = InferenceNetwork(self.network, self.preprocessing, self.activation).eval()
        with torch.inference_mode():
            answers = inference(torch.from_numpy(images).to(self.arithmetic.device))
        found: NDArray[np.float32] = answers.cpu().numpy()
        return found

    def weights(self) -> Weights:
        """Return weights and buffers, as they are stored."""
        return stored_weights(self.network)

    def statistics(self) -> Weights:
        """Return the running statistics of this rank."""
        buffers = {name for name, _ in self.network.named_buffers()}
        return {name: tensor for name, tensor in self.weights().items() if name in buffers}

    def set_statistics(self, statistics: Weights) -> None:
        """Give this rank its running statistics."""
        self.network.load_state_dict(statistics, strict=False)

    def share_weights(self, weights: Weights | None) -> None:
        """Give every rank the weights and buffers of rank 0."""
        if weights is not None:
            self.network.load_state_dict(weights)
        self.group.share_weights(self.network)

    def optimiser_state(self) -> dict[str, Any]:
        """Return the state of the optimiser, and of what keeps small gradients from becoming 0."""
        return {
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.arithmetic.scaler.state_dict(),
        }

    def set_optimiser_state(self, state: dict[str, Any]) -> None:
        """Give the optimiser its state."""
        self.optimiser.load_state_dict(state["optimiser"])
        self.arithmetic.scaler.load_state_dict(state["scaler"])


def _starting_network(run: RunSettings, index: PatchIndex, *, outputs: int) -> nn.Module:
    """Return the network as it is before the first step."""
    network = build_network(run.model, outputs, run.head)
    check_size(network, run.model, index.patch_px)
    if run.weights is not None:
        load_weights(network, run.weights)
    freeze(network, run.freeze)
    return network
