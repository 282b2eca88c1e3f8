"""How many workers a stage may have, and where."""

from pathlib import Path

import pytest

from lamella.errors import SettingsError
from lamella.fleet.cluster import workers
from lamella.fleet.scratch import site_scratch
from lamella.fleet.settings import ClusterKind, FleetSettings
from lamella.settings import Device
from lamella.slurm.settings import SiteSettings

ON_SLURM = FleetSettings(cluster=ClusterKind.SLURM, max_workers=200)


def test_cores_of_the_stage_limit_workers_beside_it_but_no_worker_jobs():
    beside = FleetSettings(max_workers=16)
    assert (beside.cores, beside.within(4).max_workers) == (16, 4)
    assert (ON_SLURM.cores, ON_SLURM.within(1).max_workers) == (1, 200)


def test_workers_on_a_gpu_stay_where_the_gpu_is():
    assert ON_SLURM.on(Device.CPU).cluster is ClusterKind.SLURM
    assert ON_SLURM.on(Device.CUDA).cluster is ClusterKind.LOCAL


def test_nothing_is_copied_to_the_nodes_unless_asked_for():
    assert FleetSettings(stage_gib=0.5).staged_bytes == 0
    assert FleetSettings(stage_gib=0.5, stage_slides=True).staged_bytes == 2**29


def test_interface_that_this_machine_has_not_is_refused_before_anything_starts():
    site = SiteSettings(interface="nowhere0")
    refused = r"site\.interface: this machine has no network interface 'nowhere0' \(it has .*lo"
    manifest = Path("manifest.tsv")
    with pytest.raises(SettingsError, match=refused), workers("s", manifest, ON_SLURM, site, 1):
        pass


def test_scratch_of_the_site_is_expanded_and_made_where_it_is_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("DISK", str(tmp_path))
    assert site_scratch(SiteSettings(scratch="$DISK")) == tmp_path
    assert site_scratch(SiteSettings(scratch="$DISK/ann")) == tmp_path / "ann"
    assert (tmp_path / "ann").is_dir()
    (tmp_path / "file").touch()
    refused = r"site\.scratch: there is no folder .*/file on this machine, and none can be made \("
    with pytest.raises(SettingsError, match=refused):
        site_scratch(SiteSettings(scratch="$DISK/file"))
    with pytest.raises(SettingsError, match=r"\$NO_DISK/x names a variable that is not set"):
        site_scratch(SiteSettings(scratch="$NO_DISK/x"))
