"""Layer III: whole slides, seen by the network.

Reads    results/patches/manifest.tsv, results/export/{run}/
Writes   results/predict/{run}/manifest.tsv  and beside it slides/{slide}.h5, heatmaps/{slide}.png
         results/predict/{run}/scores.tsv
"""

# Worker jobs have no GPU.
PREDICTION_FLEET = SETTINGS.fleet.on(SETTINGS.predict.device)

if PREDICTION_FLEET.cluster == "slurm":

    localrules:
        predict_slides,


rule predict_slides:
    """Give every patch of every slide its probabilities: a heatmap and a score."""
    input:
        slides="results/cohort/slides.tsv",
        splits="results/cohort/splits.tsv",
        masks="results/masks/manifest.tsv",
        patches="results/patches/manifest.tsv",
        cards=expand("results/export/{{run}}/{format}/model.json", format=FORMATS),
        parity="results/export/{run}/parity.tsv",
        tracking=ancient("results/mlflow/ready.json"),
    output:
        manifest="results/predict/{run}/manifest.tsv",
        scores="results/predict/{run}/scores.tsv",
    log:
        "results/logs/predict_slides/{run}.log",
    benchmark:
        "results/timings/predict_slides/{run}.tsv"
    container:
        container_of(PREDICTION_FLEET)
    threads: PREDICTION_FLEET.cores
    resources:
        **at_site(SETTINGS.predict.device),
        mem_mb=fleet_memory_mb,
        runtime=minutes(240),
    params:
        folder=subpath(input.parity, parent=True),
        settings=SETTINGS.predict.as_params(),
        patch_settings=SETTINGS.patches.as_params(),
        fleet=without_replanning(PREDICTION_FLEET),
        site=without_replanning(SETTINGS.site),
        tracking=without_replanning(SETTINGS.tracking),
        revision=predict.REVISION,
    script:
        "../../scripts/predict/predict_slides.py"
