"""The page is whole, safe, always the same, and says what happened."""

import base64
import io
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from PIL import Image

from lamella.datasets.settings import TargetKind
from lamella.errors import StoreError
from lamella.interpret.about import ABOUT, write_about
from lamella.patches.index import read_index
from lamella.report.build import build_report
from lamella.report.cohort import cohort_section
from lamella.report.engines import benchmark_remarks, benchmark_section, scenario_section
from lamella.report.explanations import explanation_section
from lamella.report.predictions import prediction_section
from lamella.report.quality import most_spoiled
from lamella.stores.json_files import read_json, write_json
from lamella.stores.tables import read_table, write_table

VOID = {"meta", "img", "br", "link", "hr", "path", "circle"}


class Page(HTMLParser):
    """Tags that stay open, links, pictures, the rows of tables, and the text."""

    def __init__(self, text):
        super().__init__()
        self.open, self.links, self.pictures, self.words = [], [], [], []
        self.rows, self.names, self.marked = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.links += [values[name] for name in ("href", "src") if values.get(name)]
        self.pictures += [values["src"]] if tag == "img" else []
        self.names += [values["id"]] if "id" in values else []
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            if "worst" in values.get("class", "").split():
                self.marked.append((self.rows[-1][1], len(self.rows[-1]) - 1))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data

    @property
    def text(self):
        return re.sub(r"\s+", " ", " ".join(self.words))


def built(run, **changes):
    build_report(
        replace(run.inputs, **changes),
        run.page,
        study="<i>breast</i>",
        settings={"a": {"b": "<"}},
    )
    return run.page.read_text(encoding="utf-8")


def test_facts_of_a_run_count_the_parts_of_a_batch_and_say_that_it_may_end_early(small_run):
    # 8 samples x 5 parts x 2 processes.
    assert "at most 3 epochs · batch of 80 from 2 processes" in Page(built(small_run)).text


def test_every_tag_is_closed_and_nothing_is_loaded_from_elsewhere(small_run):
    page = Page(built(small_run))
    assert page.open == []
    own = ("data:image/jpeg;base64,", "#", "../")
    assert [link for link in page.links if not link.startswith(own)] == []
    assert "<script" not in built(small_run)


def test_links_lead_to_the_files_that_are_shown(small_run):
    page = Page(built(small_run))
    heatmaps = [link for link in page.links if link.endswith(".png")]
    assert len(heatmaps) == 2
    assert all((small_run.page.parent / link).exists() for link in heatmaps)


def test_text_from_tables_and_settings_is_escaped(small_run):
    text = built(small_run)
    assert "<i>breast" not in text
    assert "<em>" not in text
    assert "torn.svs: is <em>torn</em> & bent. Mend it." in Page(text).text
    assert "<i>breast</i>" in Page(text).text


def test_equal_inputs_give_an_equal_page(small_run):
    assert built(small_run) == built(small_run)


def test_the_page_shows_means_and_deviations_over_the_seeds(small_run):
    text = Page(built(small_run)).text
    assert "0.850 ± 0.071" in text  # of 0.9 and 0.8
    assert "batch of 80 from 2 processes (horovod)" in text


def test_patients_whose_slides_have_no_known_class_are_not_counted(small_run):
    first = small_run.inputs.metrics[0]
    content = read_json(first)
    content["test"]["slide"]["top_k"]["bootstrap"]["patients"] = 2
    write_json(first, content)
    assert "test slides 2 of 2 patients" in Page(built(small_run)).text


def test_slides_and_patients_have_an_auc_with_its_interval_or_the_reason_why_not(small_run):
    text = Page(built(small_run)).text
    # Patches: limits 0.85 to 0.95 and 0.75 to 0.85.
    assert "test patches 5 of 3 patients 0.850 ± 0.071 0.800 – 0.900" in text
    assert "test slides 2 of 3 patients 0.350 ± 0.071 –" in text
    assert "test patients 0 of 3 patients – – drawn <so>" in text


def test_the_answers_of_every_seed_are_drawn(small_run):
    text = built(small_run)
    drawn = [f"{name} {seed}" for seed in (1, 2) for name in ("roc", "calibration", "confusion")]
    assert re.findall(r'aria-label="(\w+ \d)"', text) == drawn


def test_every_picture_can_be_decoded(small_run):
    page = Page(built(small_run))
    sizes = []
    for uri in page.pictures:
        with Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))) as image:
            image.load()
            sizes.append(image.size)
    # Two thumbnails, two heatmaps without their legends, two explanations.
    assert sizes == [(20, 6)] * 2 + [(400, 120)] * 2 + [(454, 224)] * 2


def test_quarantined_slides_come_first_with_stage_and_error(small_run):
    cohort = cohort_section(small_run.inputs, read_index(small_run.inputs.index))
    assert [entry.slide for entry in cohort.slides] == ["torn", "low", "high"]
    (torn,) = cohort.quarantined
    assert (torn.stage, torn.thumbnail) == ("segment_tissue", "")
    assert cohort.slides[1].per_class == {"normal": 2}
    assert cohort.slides[1].unlabelled == 1
    assert cohort.split_counts == "1 train, 2 test"


def test_a_slide_that_fails_only_when_it_is_predicted_is_quarantined_too(small_run):
    (manifest,) = small_run.inputs.predictions
    rows = read_table(manifest)
    rows[0] |= {"status": "failed", "error": "high.h5: damaged. Delete it.", "stage": "predict"}
    write_table(manifest, list(rows[0]), rows)
    cohort = cohort_section(small_run.inputs, read_index(small_run.inputs.index))
    assert [entry.slide for entry in cohort.quarantined] == ["low", "torn"]
    assert cohort.quarantined[0].error == "high.h5: damaged. Delete it."


def test_a_large_cohort_has_fewer_thumbnails_and_says_how_many_are_left_out(small_run):
    cohort = cohort_section(small_run.inputs, read_index(small_run.inputs.index), most=1)
    assert [bool(entry.thumbnail) for entry in cohort.slides] == [False, True, False]
    assert cohort.without_thumbnail == 1


def test_the_table_of_the_cohort_shows_shares_in_percent_and_leaves_what_is_not_measured_empty(
    small_run,
):
    rows = Page(built(small_run)).rows
    header = next(row for row in rows if row[-1:] == ["blur"])
    assert header[-5:] == ["tissue", "pen", "gaps", "folds", "blur"]
    by_slide = {row[1]: row[-5:] for row in rows if len(row) == len(header)}
    assert by_slide["low"] == ["25.0", "12.5", "0.0", "0.4", ""]
    assert by_slide["high"] == ["50.0", "2.0", "0.0", "30.0", "6.8"]
    assert by_slide["torn"] == [""] * 5


def test_the_table_of_the_cohort_marks_the_slides_that_are_named(small_run):
    page = Page(built(small_run))
    header = next(row for row in page.rows if row[-1:] == ["blur"])
    marked = [(slide, header[column]) for slide, column in page.marked]
    assert marked == [("low", "pen"), ("high", "pen"), ("high", "folds"), ("high", "blur")]


def test_the_slides_that_are_spoiled_most_are_named_by_kind_and_lead_to_their_rows(small_run):
    page = Page(built(small_run))
    assert "Pen % of the slide Measured slides: 2, median 7.2 low 12.5 high 2.0" in page.text
    assert (
        "Gaps % of the slide Measured slides: 2, median 0.0 No slide has 1 % or more." in page.text
    )
    assert "Folds % of the tissue found Measured slides: 2, median 15.2 high 30.0" in page.text
    assert "Blur % of the tissue judged Measured slides: 1, median 6.8 high 6.8" in page.text
    leading = [link for link in page.links if link.startswith("#slide-")]
    assert leading == ["#slide-low", "#slide-high", "#slide-high", "#slide-high"]
    assert {link.removeprefix("#") for link in leading} <= set(page.names)


def test_a_large_cohort_names_few_slides_of_a_kind_and_says_how_many_more_there_are(small_run):
    shares = {f"s{i}": {"pen_share": i / 100} for i in range(100)}
    pen = most_spoiled(shares, most=3)["pen_share"]
    assert pen.worst == {"s99": 0.99, "s98": 0.98, "s97": 0.97}
    assert (pen.measured, pen.affected) == (100, 99)
    assert most_spoiled(shares, most=3)["blur_share"].measured == 0


def test_heatmaps_are_ordered_by_score_and_limited(small_run):
    (entry,) = prediction_section(small_run.inputs.scores, small_run.page, most=1)
    assert [row["slide"] for row in entry.scores] == ["high", "low"]
    assert [each.row["slide"] for each in entry.heatmaps] == ["high"]
    assert entry.left_out == 1


def headlines(small_run):
    """Return what stands below the speeds at the top of the page."""
    return re.findall(r"<b>100</b><span>(patches per second[^<]*)</span>", built(small_run))


def test_an_invalid_engine_is_never_the_fastest(small_run):
    rows = benchmark_section(small_run.inputs.benchmark)
    assert [(row.cells["engine"], row.fastest) for row in rows] == [
        ("torch", False),
        ("onnxruntime", True),
        ("openvino", False),
    ]
    (tile,) = headlines(small_run)
    assert tile == "patches per second with onnxruntime in f32, batch 1"


def test_a_precision_that_is_not_valid_stands_beside_the_valid_one_with_its_reason(small_run):
    text = " ".join(Page(built(small_run)).text.split())
    assert "torch f32 valid" in text
    # Whose memory it is: on a GPU the larger part is not the host's.
    assert "Load ms Build ms Host memory, peak MiB" in text
    assert "torch bf16 invalid" in text
    assert "differs by 0.3, limit 0.05" in text


def test_gpu_memory_has_a_column_where_there_is_any(small_run):
    assert "GPU memory" not in Page(built(small_run)).text
    table = small_run.inputs.benchmark
    rows = read_table(table)
    rows[0]["gpu_memory_mib"] = "2345.678"
    write_table(table, list(rows[0]), rows)
    text = " ".join(Page(built(small_run)).text.split())
    assert "Host memory, peak MiB GPU memory, MiB" in text
    assert " 2346 " in text


def test_batch_sizes_and_scenarios_that_an_engine_failed_at_are_named_with_the_reason(small_run):
    table = small_run.inputs.benchmark
    rows = read_table(table)
    failed = {"verdict": "unavailable", "reason": "no room", "comparable": "yes"}
    rows.append(dict.fromkeys(rows[0], "") | {"engine": "torch", "batch_size": "64", **failed})
    write_table(table, list(rows[0]), rows)
    table = small_run.inputs.scenarios
    rows = read_table(table)
    rows.append(dict.fromkeys(rows[0], "") | {"engine": "torch", "scenario": "server", **failed})
    write_table(table, list(rows[0]), rows)
    text = " ".join(Page(built(small_run)).text.split())
    assert "torch unavailable 64 no room" in text
    assert "server torch unavailable no room" in text


def test_scenarios_are_shown_one_by_one_with_the_best_engine_first(small_run):
    rows = scenario_section(small_run.inputs.scenarios)
    assert [(row.cells["scenario"], row.cells["engine"], row.text) for row in rows] == [
        ("single_stream", "onnxruntime", "p90 9.25 ms"),
        ("single_stream", "torch", "p90 25.50 ms"),
        ("server", "torch", "21.0 queries per second, p99 below 15 ms"),
        ("server", "onnxruntime", "–"),
    ]
    assert "21.0 queries per second, p99 below 15 ms" in Page(built(small_run)).text


def test_what_is_not_comparable_is_marked_with_engine_and_reason(small_run):
    table = small_run.inputs.benchmark
    rows = read_table(table)
    rows[1]["comparable"] = "no: other processes took 23 % of the CPUs, more than 10 %"
    write_table(table, list(rows[0]), rows)
    (remark,) = benchmark_remarks(benchmark_section(table))
    assert remark == "onnxruntime in f32: other processes took 23 % of the CPUs, more than 10 %"
    text = Page(built(small_run)).text
    assert remark in text
    assert text.count("not comparable") == 3  # beside its row, before the reason, at a glance
    (tile,) = headlines(small_run)
    assert tile == "patches per second with onnxruntime in f32, batch 1, not comparable"


def test_explanations_show_the_mean_lift_and_name_what_was_taken_for_another_class(small_run):
    (entry,) = explanation_section(small_run.inputs.explanations)
    assert [(group.label, group.mean_lift) for group in entry.classes] == [("tumor", "2.00")]
    assert "taken for normal" in Page(built(small_run)).text


def test_a_network_that_cannot_be_explained_shows_why(small_run):
    (path,) = small_run.inputs.explanations
    path.write_text(path.read_text(encoding="utf-8").splitlines()[0] + "\n", encoding="utf-8")
    assert "The test split has no labelled patch." in Page(built(small_run)).text
    reason = "vit: gives <tokens>. Train another."
    write_about(
        path.with_name(ABOUT),
        method="grad_cam",
        model="vit",
        seed=1,
        kind=TargetKind.CLASSES,
        reason=reason,
    )
    assert reason in Page(built(small_run)).text


def test_explanations_without_what_they_are_about_are_refused(small_run):
    (path,) = small_run.inputs.explanations
    path.with_name(ABOUT).unlink()
    with pytest.raises(StoreError, match=r"about.json: what was explained cannot be read"):
        explanation_section([path])


def test_slides_without_a_score_keep_their_heatmaps_and_the_remark_stands_once(small_run):
    (path,) = small_run.inputs.scores
    rows = read_table(path)
    for row in rows[:2]:
        row |= {"score": "", "mean_probability": "", "share_above_half": "", "remark": "no <score>"}
    write_table(path, list(rows[0]), rows)
    page = Page(built(small_run))
    assert page.text.count("no <score>") == 1
    assert len([link for link in page.links if link.endswith(".png")]) == 2
    assert page.open == []


@pytest.mark.parametrize("name", ["scores", "explanations", "parity"])
def test_a_table_without_rows_leaves_the_page_whole(small_run, name):
    (path,) = getattr(small_run.inputs, name)
    header = path.read_text(encoding="utf-8").splitlines()[0]
    path.write_text(header + "\n", encoding="utf-8")
    assert Page(built(small_run)).open == []


def test_workloads_have_a_table_and_pictures_where_they_were_run(small_run, workloads):
    text = built(small_run, workloads=workloads)
    rows = [row for row in Page(text).rows if row and "30.00 ± 6.12" in row]
    assert rows == [
        ["torch", "valid", "30.00 ± 6.12", "250.00 ± 7.07"],
        ["openvino", "invalid not comparable", "30.00 ± 6.12", "250.00 ± 7.07"],
    ]
    assert ["tensorflow", "unavailable not comparable", "its library is absent"] in Page(text).rows
    assert ["", "differs <b>"] in Page(text).rows
    assert "not comparable: smaller than in the paper (openvino in f32, tensorflow in f32)" in text
    assert re.findall(r'aria-label="(\w+) of workloads"', text) == ["stages", "parity"]


def test_without_workloads_the_page_does_not_speak_of_them(small_run):
    assert "Medical workloads" not in built(small_run)
