"""What a job asks for at a site."""

from lamella.slurm.settings import SiteSettings

SITE = SiteSettings(account="lab", partition="short", gpu_partition="gpu", gpu_type="a100")


def test_job_without_gpus_goes_to_the_partition_that_has_none():
    assert SITE.resources() == {"slurm_account": "lab", "slurm_partition": "short"}


def test_job_with_gpus_asks_for_them_on_each_node():
    assert SITE.resources(gpus=4) == {
        "slurm_account": "lab",
        "slurm_partition": "gpu",
        "gres": "gpu:a100:4",
    }
    assert SiteSettings(gpu_partition="gpu", qos="high").resources(gpus=1) == {
        "slurm_partition": "gpu",
        "qos": "high",
        "gres": "gpu:1",
    }


def test_no_job_asks_for_more_than_the_longest_limit():
    assert SITE.within_limit(720) == 720
    short = SiteSettings(limit_min=60)
    assert (short.within_limit(720), short.within_limit(30)) == (60, 30)
