import pytest
from pydantic import ValidationError

from lamella.datasets.settings import TargetSettings
from lamella.training.settings import RunSettings, TrainingSettings

RUNS = {"a": RunSettings(), "b": RunSettings(epochs=2)}


def test_several_processes_need_a_backend():
    with pytest.raises(ValidationError, match="needs backend: horovod"):
        TrainingSettings(processes=2)


def test_processes_are_spread_evenly_over_nodes():
    with pytest.raises(ValidationError, match="processes is 3, which cannot be spread evenly over"):
        TrainingSettings(processes=3, nodes=2, backend="torch")
    with pytest.raises(ValidationError, match="processes is 1, which cannot be spread evenly over"):
        TrainingSettings(nodes=2)
    assert TrainingSettings(processes=6, nodes=2, backend="torch").processes_per_node == 3


def test_number_of_nodes_changes_no_result():
    one, two = (TrainingSettings(processes=4, nodes=n, backend="torch") for n in (1, 2))
    assert two.without_limits() == one


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"weights": "net.h5"}, "must say what images the network in net.h5 was given"),
        ({"weights_prepared": "keras"}, "weights_prepared is for weights in .h5"),
        ({"weights": "best.pt", "weights_prepared": "keras"}, "is for weights in .h5"),
        ({"framework": "torch", "weights": "net.h5"}, "are for framework tensorflow"),
    ],
)
def test_only_weights_of_keras_are_told_how_images_were_prepared(settings, error):
    with pytest.raises(ValidationError, match=error):
        RunSettings(**{"framework": "tensorflow", **settings})
    RunSettings(framework="tensorflow", weights="net.h5", weights_prepared="keras")


def test_use_names_runs_that_are_there():
    with pytest.raises(ValidationError, match=r"use names \['c'\], but runs holds \['a', 'b'\]"):
        TrainingSettings(runs=RUNS, use=("a", "c"))
    assert TrainingSettings(runs=RUNS).selected_runs == ("a", "b")
    assert TrainingSettings(runs=RUNS, use=("b",)).selected_runs == ("b",)


def test_what_matters_to_one_run_does_not_depend_on_other_runs_and_seeds():
    whole = TrainingSettings(runs=RUNS, seeds=(4, 5), use=("a", "b"))
    assert whole.for_run("b") == TrainingSettings(runs={"b": RUNS["b"]}).for_run("b")
    assert TrainingSettings.from_params(whole.for_run("b").as_params()).runs == {"b": RUNS["b"]}


def test_name_of_a_run_cannot_leave_its_folder():
    with pytest.raises(ValidationError, match="runs"):
        TrainingSettings(runs={"../x": RunSettings()})


def test_seed_twice_is_refused():
    with pytest.raises(ValidationError, match="seeds holds one number twice"):
        TrainingSettings(seeds=(1, 2, 1))


def test_negative_seed_is_refused():
    with pytest.raises(ValidationError, match="seeds holds -1, which is below 0"):
        TrainingSettings(seeds=(0, -1))


def test_run_used_twice_is_refused():
    with pytest.raises(ValidationError, match="use holds one name twice"):
        TrainingSettings(runs=RUNS, use=("a", "b", "a"))


def test_limits_are_no_part_of_what_a_result_depends_on():
    limited = TrainingSettings(
        start_limit_s=11,
        exchange_limit_s=12,
        max_open_shards=13,
        checkpoint_minutes=14,
        loader_threads=15,
        network_interface="ib0",
        stop_before_limit_s=16,
    )
    assert limited.without_limits() == TrainingSettings()
    decisive = TrainingSettings(runs=RUNS, seeds=(3,), backend="horovod", processes=2)
    assert decisive.without_limits() == decisive


def test_float16_is_refused_on_the_processor():
    runs = {"half": RunSettings(precision="float16")}
    with pytest.raises(ValidationError, match="run 'half' is float16, which needs device: cuda"):
        TrainingSettings(runs=runs)
    assert TrainingSettings(runs=runs, device="cuda").runs == runs


def test_a_run_learns_classes_unless_it_says_otherwise():
    assert RunSettings().target == TargetSettings(kind="classes")
    run = RunSettings(target={"kind": "regression", "columns": ["age"]})
    assert RunSettings.from_params(run.as_params()) == run


def test_balanced_sampling_needs_classes():
    labels = {"kind": "multi_label", "columns": ["er"]}
    with pytest.raises(ValidationError, match=r"sampling is balanced, .*\.kind is multi_label"):
        RunSettings(sampling="balanced", target=labels)
    assert RunSettings(sampling="natural", target=labels).target.columns == ("er",)
