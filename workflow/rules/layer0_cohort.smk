"""Layer 0: the slides, who they belong to, and where results are tracked.

Reads    the slide table that the setting ``slides`` names
Writes   results/cohort/slides.tsv, results/cohort/splits.tsv, results/mlflow/ready.json
"""


rule prepare_tracking:
    """Make the tracking store ready, once, before any job logs to it."""
    output:
        ready="results/mlflow/ready.json",
    log:
        "results/logs/prepare_tracking.log",
    params:
        settings=SETTINGS.tracking.as_params(),
    script:
        "../../scripts/cohort/prepare_tracking.py"


rule check_cohort:
    """Check that every slide and annotation of the table is there."""
    input:
        table=SETTINGS.slides,
    output:
        slides="results/cohort/slides.tsv",
    log:
        "results/logs/check_cohort.log",
    params:
        # The checked table holds absolute paths: it is made anew where the folder was moved.
        folder=str(SETTINGS.slides.parent.absolute()),
        revision=cohort.REVISION,
    script:
        "../../scripts/cohort/check_cohort.py"


rule split_cohort:
    """Divide the patients into training, validation and test."""
    input:
        slides="results/cohort/slides.tsv",
    output:
        splits="results/cohort/splits.tsv",
    log:
        "results/logs/split_cohort.log",
    params:
        settings=SETTINGS.split.as_params(),
        revision=cohort.REVISION,
    script:
        "../../scripts/cohort/split_cohort.py"
