"""What a cluster says it offers."""

import pytest

from lamella.errors import SlurmError
from lamella.slurm.cluster import Accounts, Partition, minutes, read_accounts, read_partitions

# Of a site with two kinds of nodes in one partition, and names behind the kinds of GPUs.
SAID = """\
short*|up|12|64+|256000+|4:00:00|(null)
short*|up|4|128|512000|4:00:00|(null)
gpu|up|3|48|385000|2-00:00:00|gpu:a100:4(S:0-1),nvme:1
gpu|up|2|32|190000|2-00:00:00|gpu:v100:2
old|down|1|16|64000|infinite|gpu:2
"""


def test_kinds_of_nodes_are_joined_into_one_partition():
    assert read_partitions(SAID) == [
        Partition("short", True, True, 16, 64, 256000, 240, frozenset()),
        Partition("gpu", False, True, 5, 32, 190000, 2880, frozenset({"a100", "v100"})),
        Partition("old", False, False, 1, 16, 64000, None, frozenset({""})),
    ]


def test_generic_resources_that_only_sound_like_gpus_are_none():
    (found,) = read_partitions("p|up|1|1|1|1:00|gpumem:80G,mygpu:1")
    assert found.gpus == frozenset()


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        ("infinite", None),
        ("30:00", 30),
        ("1:00:00", 60),
        ("7-12:30:00", 10830),
        ("5-00:00:00", 7200),
    ],
)
def test_time_limits_are_minutes(limit, expected):
    assert minutes(limit) == expected


def test_line_of_another_form_is_refused():
    with pytest.raises(SlurmError, match=r"sinfo: a line is not that of a partition"):
        read_partitions("short*|up|12")


def test_default_account_stands_first_and_each_once():
    assert read_accounts(["lab", "trial", "lab", ""], "trial") == Accounts(
        "trial", ("trial", "lab")
    )
    assert read_accounts([], "") == Accounts(None, ())
