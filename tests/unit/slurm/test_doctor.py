"""What the doctor writes."""

from pathlib import Path

import pytest
import yaml

from lamella.config import load_config
from lamella.slurm.doctor import write_site
from lamella.slurm.settings import SiteSettings


@pytest.mark.parametrize("name", ["lab", "0123", "12345", "on", "1e5", "lab: x", "größe"])
def test_names_that_yaml_takes_for_something_else_are_read_back_as_they_were(tmp_path, name):
    path = tmp_path / "site.yaml"
    site = SiteSettings(account=name, partition=name, scratch=Path("/local/a b"), limit_min=60)
    assert write_site(path, site, workers_per_job=2)
    text = path.read_text(encoding="utf-8")
    assert load_config(yaml.safe_load(text), [path]).site == site


def test_file_that_is_there_is_not_written_again(tmp_path):
    path = tmp_path / "site.yaml"
    path.write_text("site: {}\n")
    assert not write_site(path, SiteSettings(partition="cpu"), workers_per_job=2)
    assert path.read_text() == "site: {}\n"
