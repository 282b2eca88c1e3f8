"""Another job of more weight takes a job's node."""


def test_preempted_job_is_queued_again_and_goes_on(cluster, study, preempt):
    study.train_long()
    run = study.start()
    job = study.job_under_way()
    preempt()
    assert study.end_of(run, hastening=job) == 0, study.said
    assert study.is_complete
    assert cluster.facts(job)["Restarts"] == "1"
    assert study.said.count("has been submitted") == 1
    log = (study.folder / "results/logs/train_model/tiny/seed1.log").read_text()
    assert "going on after epoch" in log


def test_preempted_job_that_its_site_cancels_is_told_so_and_a_second_start_completes(
    cluster, study, preempt
):
    cluster.ask("scontrol", "update", "PartitionName=cpu", "PreemptMode=CANCEL")
    try:
        study.train_long()
        run = study.start()
        job = study.job_under_way()
        preempt()
        assert study.end_of(run) == 1
    finally:
        cluster.ask("scontrol", "update", "PartitionName=cpu", "PreemptMode=REQUEUE")
    (reason,) = study.reasons
    assert f"(SLURM job {job}, attempt 1): preempted by another job. Start again" in reason
    assert study.run() == 0, study.said
    assert study.is_complete
