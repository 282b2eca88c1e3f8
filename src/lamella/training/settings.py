"""How networks are trained."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from lamella.datasets.settings import AugmentSettings, Sampling, TargetKind, TargetSettings
from lamella.models.settings import KERAS_MODELS, KERAS_SUFFIX, HeadSettings, Preparation
from lamella.settings import Device, Settings

RunName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]

LEAST_BATCH_SIZE = 4
"""Below, a ragged batch could leave one sample to a process; batch normalisation needs two."""


class Framework(StrEnum):
    """The library a network is trained with."""

    TORCH = "torch"
    TENSORFLOW = "tensorflow"


class Backend(StrEnum):
    """How the processes of one training exchange gradients."""

    NONE = "none"
    HOROVOD = "horovod"
    TORCH = "torch"


class Optimiser(StrEnum):
    """The rule by which gradients change the weights."""

    ADAMW = "adamw"
    ADAM = "adam"
    SGD = "sgd"


class Decay(StrEnum):
    """How the learning rate falls after the warm-up."""

    COSINE = "cosine"
    EXPONENTIAL = "exponential"
    STEP = "step"
    CONSTANT = "constant"


class Precision(StrEnum):
    """Numbers in which the network learns."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"


class RunSettings(Settings):
    """One training run: a network and how it is trained. It is repeated for every seed."""

    framework: Framework = Framework.TORCH
    """Library the network is trained with: `torch`, or `tensorflow` by Keras. Either is exported,
    predicted and explained alike."""

    model: str = Field(default="resnet50", pattern=r"^[a-z0-9][a-z0-9_.]*$")
    """Network: `resnet50`, `resnet101`, `inception_v3`; with `torch` any other name timm knows."""

    head: HeadSettings = HeadSettings()
    """What stands between the network's pooled features and its outputs."""

    target: TargetSettings = TargetSettings()
    """What is learned: classes, labels that do not exclude each other, or numbers."""

    weights: Path | None = None
    """File with weights to start from, relative to the folder that Snakemake works in:
    `.safetensors` or `.pt`; with `tensorflow` `best.pt` of another such run, or `.h5` as Keras'
    applications offer it. Absent: weights start at random."""

    weights_prepared: Preparation | None = None
    """With `tensorflow` and weights in `.h5`, as Keras' applications offer them: how images were
    prepared that they have learned from. `keras`: as its applications do it, ResNets blue, green,
    red in 0–255 less the mean, Inception −1 to 1; the first layer is turned such that it sees the
    same. `lamella`: as patches are here."""

    freeze: tuple[str, ...] = ()
    """Parameters that keep their values, as patterns of their names: `["conv1.*", "layer*"]`."""

    epochs: int = Field(default=10, ge=1)
    """How often the training samples are gone through."""

    batch_size: int = Field(default=16, ge=LEAST_BATCH_SIZE)
    """Samples that a process works on at a time; the joined batch of a step is this times
    `accumulate` times `training.processes`."""

    accumulate: int = Field(default=1, ge=1)
    """Parts of a process's batch that are worked on one after the other before a step is taken: the
    gradient of a joined batch as many times as large, in the memory of one part."""

    patience: int | None = Field(default=None, ge=1)
    """Epochs without a better one on validation, after which the training ends; absent: never."""

    optimiser: Optimiser = Optimiser.ADAMW
    """`adamw`, `adam`, or `sgd` with Nesterov momentum 0.9."""

    learning_rate: float = Field(default=1e-3, gt=0.0)
    """Highest learning rate."""

    scale_learning_rate: bool = False
    """Multiply the learning rate by `accumulate` times `training.processes`: it is then that of
    `batch_size` samples, and grows in line with the joined batch."""

    warmup_share: float = Field(default=0.1, ge=0.0, lt=1.0)
    """Share of all steps in which the learning rate rises in a line; then it falls."""

    decay: Decay = Decay.COSINE
    """How it falls: `cosine`, to 0 at the last step; `exponential` and `step`, to `decay_factor`
    of itself every `decay_epochs`, steadily or at once; `constant`, not at all."""

    decay_factor: float = Field(default=0.1, gt=0.0, lt=1.0)
    """Share of the learning rate that is left after `decay_epochs`; not for other decays."""

    decay_epochs: float = Field(default=3.0, gt=0.0)
    """Epochs, counted from the end of the warm-up; not for other decays."""

    weight_decay: float = Field(default=0.05, ge=0.0)
    """Weight decay; normalisation layers and biases are left out. With `adamw` weights shrink by
    this times the learning rate in every step; with `adam` and `sgd` it times the weight is added
    to the gradient, for which 0.0001 is usual."""

    clip_norm: float | None = Field(default=None, gt=0.0)
    """Longest gradient, as the norm over all weights; a longer one is shortened. Absent: any."""

    precision: Precision = Precision.FLOAT32
    """Numbers in which the network learns: `bfloat16`, or `float16` on a GPU, by automatic mixed
    precision. It is judged and stored in `float32`."""

    channels_last: bool = False
    """With `torch`: keep the weights of convolutions with the channels last, as the patches are."""

    compile: bool = False
    """With `torch`: learn with the network compiled by torch.compile, which needs a C++
    compiler."""

    sampling: Sampling = Sampling.NATURAL
    """`natural`: every sample once per epoch; `balanced`: equally many of every class, some of
    them more than once where a class has too few."""

    patches_per_epoch: int | None = Field(default=None, ge=1)
    """Samples per epoch, drawn anew for each; absent: as many as there are."""

    augment: AugmentSettings = AugmentSettings()
    """How patches are changed before the network sees them."""

    threads: int = Field(default=1, ge=1)
    """Threads per process for the network's arithmetic."""

    @model_validator(mode="after")
    def _says_how_images_of_keras_were_prepared(self) -> Self:
        of_keras = self.weights is not None and self.weights.suffix == KERAS_SUFFIX
        if of_keras and self.framework is Framework.TORCH:
            raise ValueError(f"weights in {KERAS_SUFFIX} are for framework tensorflow")
        if of_keras and self.weights_prepared is None:
            raise ValueError(
                f"weights_prepared must say what images the network in {self.weights} was given"
            )
        if self.weights_prepared is not None and not of_keras:
            raise ValueError(f"weights_prepared is for weights in {KERAS_SUFFIX}")
        return self

    @model_validator(mode="after")
    def _tensorflow_can_do_it(self) -> Self:
        if self.framework is Framework.TORCH:
            return self
        if self.model not in KERAS_MODELS:
            raise ValueError(
                f"framework tensorflow trains {', '.join(KERAS_MODELS)}, not {self.model!r}"
            )
        if self.precision is Precision.FLOAT16:
            raise ValueError("framework tensorflow learns in float32 or bfloat16, not in float16")
        for name in ("channels_last", "compile"):
            if getattr(self, name):
                raise ValueError(f"{name} is for framework torch")
        return self

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.sampling is Sampling.BALANCED and self.target.kind is not TargetKind.CLASSES:
            raise ValueError(
                f"sampling is balanced, which needs classes; target.kind is {self.target.kind}"
            )
        return self


class TrainingSettings(Settings):
    """Which networks are trained, how often, and by how many processes."""

    backend: Backend = Backend.NONE
    """How the processes exchange gradients: `horovod`; `torch` (DistributedDataParallel) where
    Horovod cannot be built; `none` for a single process. Both exchange them by gloo on the CPU.
    Runs of framework `tensorflow` take `horovod` or `none`."""

    processes: int = Field(default=1, ge=1, le=64)
    """Processes that train one network together, over all nodes."""

    nodes: int = Field(default=1, ge=1, le=64)
    """Nodes of one SLURM job that the processes are spread over, equally many on each; with 1 all
    run where the training is started."""

    network_interface: str | None = Field(default=None, min_length=1)
    """Network by which the nodes exchange gradients, such as `ib0`; absent: the one on the way from
    a node to the first. Only for several nodes."""

    device: Device = Device.CPU
    """Where networks are trained; with `cuda` every process has a GPU of its own."""

    start_limit_s: int = Field(default=300, ge=10)
    """Seconds that the processes have to find each other."""

    exchange_limit_s: int = Field(default=1800, ge=10)
    """Seconds that one process waits for the others before the training is given up."""

    checkpoint_minutes: float = Field(default=10.0, gt=0.0)
    """Minutes after which a training keeps its state in the middle of an epoch; it always does at
    the end of one."""

    stop_before_limit_s: int = Field(default=120, ge=10)
    """Seconds before the time limit of its SLURM job at which a training keeps its state and ends;
    half of the time that is left, where that is shorter. A job that Snakemake has submitted is then
    queued again, and goes on."""

    max_open_shards: int = Field(default=32, ge=1)
    """Patch files that one process keeps open at a time."""

    loader_threads: int = Field(default=1, ge=1, le=64)
    """Threads per process that read and augment patches; more where `loader_wait_share` in
    `history.tsv` is not near 0 and cores are free."""

    seeds: tuple[int, ...] = Field(default=(1,), min_length=1)
    """Each run is trained once for each of these; 0 or more."""

    use: tuple[str, ...] = ()
    """Names of the runs to train; empty: all."""

    runs: dict[RunName, RunSettings] = Field(default_factory=lambda: {"resnet50": RunSettings()})
    """The runs by name; the name stands in paths: letters, digits, `_`, `.` and `-`."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.backend is Backend.NONE and self.processes > 1:
            raise ValueError(
                f"processes is {self.processes}, which needs backend: horovod or torch"
            )
        if self.processes % self.nodes:
            raise ValueError(
                f"processes is {self.processes}, which cannot be spread evenly over"
                f" {self.nodes} nodes"
            )
        for name, run in self.runs.items():
            if run.precision is Precision.FLOAT16 and self.device is Device.CPU:
                raise ValueError(f"precision of run {name!r} is float16, which needs device: cuda")
            if run.framework is Framework.TENSORFLOW and self.backend is Backend.TORCH:
                raise ValueError(
                    f"framework of run {name!r} is tensorflow, whose gradients backend torch does "
                    "not exchange: choose horovod"
                )
        if min(self.seeds) < 0:
            raise ValueError(f"seeds holds {min(self.seeds)}, which is below 0")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError("seeds holds one number twice")
        if len(set(self.use)) < len(self.use):
            raise ValueError("use holds one name twice")
        unknown = [name for name in self.use if name not in self.runs]
        if unknown:
            raise ValueError(f"use names {unknown}, but runs holds {sorted(self.runs)}")
        return self

    @property
    def processes_per_node(self) -> int:
        """Number of processes on each node."""
        return self.processes // self.nodes

    @property
    def selected_runs(self) -> tuple[str, ...]:
        """Names of the runs that are trained."""
        return self.use or tuple(self.runs)

    def without_limits(self) -> "TrainingSettings":
        """Return what a result depends on: with the default of every setting that changes none."""
        limits = (
            *("start_limit_s", "exchange_limit_s", "checkpoint_minutes"),
            *("max_open_shards", "loader_threads"),
            *("nodes", "network_interface", "stop_before_limit_s"),
        )
        fields = type(self).model_fields
        return self.model_copy(update={limit: fields[limit].default for limit in limits})

    def for_run(self, name: str) -> "TrainingSettings":
        """Return what matters to one run: another run or seed changes nothing here."""
        return self.model_copy(update={"runs": {name: self.runs[name]}, "use": (), "seeds": (1,)})
