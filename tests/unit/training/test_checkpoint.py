"""What a training keeps on disk."""

import resource
from collections.abc import Iterator

import pytest
import torch

from lamella.errors import StoreError
from lamella.training.checkpoint import StateFolder

LIMIT = 100_000


@pytest.fixture
def full_disk() -> Iterator[None]:
    """Let no file grow beyond some bytes: writing then fails as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


# Where a write fails, and where torch then also fails to end its archive.
@pytest.mark.parametrize("numbers", [24_800, 100_000])
@pytest.mark.usefixtures("full_disk")
def test_weights_for_which_there_is_no_room_are_told_with_the_reason_and_leave_nothing(
    tmp_path, numbers
):
    state = StateFolder(tmp_path / "state", {})
    state.write_best(1, {"weight": torch.zeros(10)})
    with pytest.raises(StoreError, match=r"best-2.pt: it cannot be written \(File too large\)"):
        state.write_best(2, {"weight": torch.zeros(numbers)})
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["best-1.pt"]
    assert state.read_best(1).keys() == {"weight"}
