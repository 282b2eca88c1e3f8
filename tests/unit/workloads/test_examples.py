"""Items whose answers are held against the network's."""

import numpy as np
from PIL import Image

from lamella.workloads.chest import Chest
from lamella.workloads.clip import Clip
from lamella.workloads.examples import (
    compare_examples,
    example_places,
    full_batches,
    reference_difference,
)
from lamella.workloads.slide import WholeSlide


def test_examples_are_spread_from_the_first_item_to_the_last():
    assert example_places(40, 8).tolist() == [0, 5, 11, 16, 22, 27, 33, 39]
    assert example_places(3, 8).tolist() == [0, 1, 2]


def test_batches_of_examples_are_full_and_hold_all():
    assert [rows.tolist() for rows in full_batches(4, 3)] == [[0, 1, 2], [3, 0, 1]]
    assert [rows.tolist() for rows in full_batches(2, 5)] == [[0, 1, 0, 1, 0]]


def test_every_example_is_counted_once_also_where_it_fills_the_last_batch():
    wanted = np.float32([[0.5005, 0.4995], *[[0.25, 0.75]] * 15])

    class Rounding:
        """An engine that takes the first patch for one of the other class, by 0.001."""

        def run(self, inputs):
            found = wanted.copy()
            found[0] = found[0, ::-1]
            return (found[inputs[0]],)

    for batch_size in (1, 5, 16, 40):
        numbers = np.arange(16)
        difference, agreement, answers = compare_examples(Rounding(), (numbers, wanted), batch_size)
        assert 0.0009 < difference < 0.0011
        assert (agreement, answers) == (15 / 16, 16)


def test_labels_are_counted_as_far_as_they_lie_within_and_probabilities_measured():
    # Of two examples of 2 x 2 pixels the classes 0 and 1, but for one pixel.
    answers = np.float32([[[[0.9, 0.1]] * 2] * 2, [[[0.3, 0.7]] * 2] * 2])
    answers[1, 0, 1] = [0.8, 0.2]
    whole, cut = np.uint8([[0, 0], [0, 1]]), np.uint8([[1], [0]])
    assert reference_difference([whole, cut], answers) == 2 / 6
    assert reference_difference([whole], answers) == 1 / 4
    found = [np.float32([0.5, 0.5]), np.float32([0.25, 0.75])]
    assert reference_difference(found, np.float32([[0.5, 0.5], [0.5, 0.5], [1, 0]])) == 0.25
    assert np.isnan(reference_difference([np.float32([np.nan, 0.5])], np.float32([[0.5, 0.5]])))


def test_examples_are_found_again_in_the_result_of_a_run(tmp_path):
    volume = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    np.save(tmp_path / "volume.npy", volume)
    chest = Chest(tmp_path / "volume.npy", (1, 2, 3), run_items=11)
    assert chest.asked == 2 * 4 * 5 + 2 * 5 + 2 * 3
    # Of 12 patches the examples are 0, 1, 3, 4, 6, 7, 9, 11; the run has 11.
    *_, last_but_one, last = chest.at_examples(volume)
    assert len(chest.at_examples(volume)) == 7
    np.testing.assert_array_equal(last_but_one, volume[1:2, 2:4, 3:5])
    np.testing.assert_array_equal(last, volume[2:3, 0:2, 3:5])

    frames = np.arange(30, dtype=np.uint8)[:, None, None].repeat(4, axis=1).repeat(4, axis=2)
    np.save(tmp_path / "frames.npy", frames)
    clip = Clip(tmp_path / "frames.npy", 4, run_items=5)
    assert clip.asked == 5 * 16
    # Of 30 frames the examples are 0, 1, 2, 3, 5, …
    assert [int(each[0, 0]) for each in clip.at_examples(frames[:5])] == [0, 1, 2, 3]


def test_examples_are_found_again_in_the_heatmap(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 99, (900, 1200, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "slide.png")
    slide = WholeSlide(tmp_path / "slide.png", 128, readers=1, run_items=20)
    places = slide.examples()[:, 0, 0]
    heatmap = np.zeros((8, 10, 3))
    heatmap[: 900 // 128 + 1] = np.pad(pixels, ((0, 124), (0, 80), (0, 0)))[::128, ::128]
    found = np.stack(slide.at_examples(heatmap))
    assert 0 < len(found) < len(places)
    np.testing.assert_array_equal(found, places[: len(found)])
