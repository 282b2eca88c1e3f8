"""Layer I: from slides to patches.

Reads    results/cohort/slides.tsv, results/cohort/splits.tsv, the slides themselves
Writes   results/masks/manifest.tsv    and beside it slides/{slide}.png, thumbnails/{slide}.jpg
         results/masks/quality.tsv
         results/patches/manifest.tsv  and beside it slides/{slide}.h5
         results/patches/index.parquet, results/patches/cohort.h5

Only tables are declared: Snakemake deletes the outputs of a job that fails or runs again, and
the files of the slides are what a stage resumes from.
"""


rule segment_tissue:
    """Find the tissue of every slide."""
    input:
        slides="results/cohort/slides.tsv",
    output:
        manifest="results/masks/manifest.tsv",
        quality="results/masks/quality.tsv",
    log:
        "results/logs/segment_tissue.log",
    benchmark:
        "results/timings/segment_tissue.tsv"
    container:
        container_of(SETTINGS.fleet)
    threads: SETTINGS.fleet.cores
    resources:
        **at_site(Device.CPU),
        mem_mb=fleet_memory_mb,
        runtime=minutes(120),
    params:
        settings=SETTINGS.tissue.as_params(),
        reading=SETTINGS.reading.as_params(),
        # Slides are no inputs, there are too many; a file that changed plans the stage again.
        files=lambda wildcards: files_state(
            path for slide in SLIDES for path in (slide.path, slide.mask) if path
        ),
        fleet=without_replanning(SETTINGS.fleet),
        site=without_replanning(SETTINGS.site),
        reading_revision=slides.REVISION,
        revision=tissue.REVISION,
    script:
        "../../scripts/preprocess/segment_tissue.py"


rule extract_patches:
    """Cut the tissue of every slide into patches."""
    input:
        slides="results/cohort/slides.tsv",
        masks="results/masks/manifest.tsv",
    output:
        manifest="results/patches/manifest.tsv",
    log:
        "results/logs/extract_patches.log",
    benchmark:
        "results/timings/extract_patches.tsv"
    container:
        container_of(SETTINGS.fleet)
    threads: SETTINGS.fleet.cores
    resources:
        **at_site(Device.CPU),
        mem_mb=fleet_memory_mb,
        runtime=minutes(240),
    params:
        # Settings without an effect on patch files are left out of it.
        settings=SETTINGS.patches.of_extraction().as_params(),
        # Only for an estimate of the disk space; with `threads` it replans nothing.
        mask_mpp=lambda wildcards, threads: SETTINGS.tissue.mpp,
        reading=SETTINGS.reading.as_params(),
        files=lambda wildcards: files_state(
            path
            for path in (
                SETTINGS.patches.stain_reference,
                *(slide.annotation for slide in SLIDES),
            )
            if path
        ),
        fleet=without_replanning(SETTINGS.fleet),
        site=without_replanning(SETTINGS.site),
        reading_revision=slides.REVISION,
        revision=patches.REVISION,
    script:
        "../../scripts/preprocess/extract_patches.py"


rule join_cohort:
    """Index the patches of all slides and join them into one view."""
    input:
        slides="results/cohort/slides.tsv",
        splits="results/cohort/splits.tsv",
        manifest="results/patches/manifest.tsv",
    output:
        index="results/patches/index.parquet",
        cohort="results/patches/cohort.h5",
    log:
        "results/logs/join_cohort.log",
    resources:
        **at_site(Device.CPU),
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=minutes(30),
    params:
        settings=SETTINGS.patches.as_params(),
        fleet=without_replanning(SETTINGS.fleet),
        revision=patches.REVISION,
    script:
        "../../scripts/preprocess/join_cohort.py"
