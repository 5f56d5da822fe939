"""Figures of things found one by one: matching, average precision, thresholds and counts."""

from __future__ import annotations

import numpy as np
import pytest

from specialists.evaluation import boxes

ONE = np.array([[0.0, 0, 1, 1]])


def found(scores, hits, image, truths) -> boxes.Found:
    """Return what was said, of lists."""
    return boxes.Found(np.array(scores, float), np.array(hits, bool), np.array(image, int), np.array(truths))


def test_overlap_of_boxes():
    other = np.array([[0.5, 0, 1.5, 1], [2, 2, 3, 3], [0, 0, 1, 1]])
    np.testing.assert_allclose(boxes.iou(ONE, other), [[1 / 3, 0, 1]])
    assert boxes.iou(ONE, np.zeros((0, 4))).shape == (1, 0)


def test_no_truth_is_found_twice_and_the_surest_takes_it():
    overlap = np.array([[0.6], [0.9], [0.2]])
    assert boxes.matched(overlap, np.array([0.9, 0.5, 0.8])).tolist() == [True, False, False]
    assert boxes.matched(np.zeros((2, 0)), np.array([0.9, 0.5])).tolist() == [False, False]


def test_average_precision_by_hand():
    # right, wrong, right, and one of three never found: 1/3 at precision 1, 1/3 at 2/3
    said = found([0.9, 0.8, 0.7], [1, 0, 1], [0, 0, 1], [2, 1])
    assert boxes.average_precision(said)[0] == pytest.approx(1 / 3 + 1 / 3 * 2 / 3)
    # the first image counted twice: right, right, wrong, wrong, right of five
    assert boxes.average_precision(said, np.array([[2, 1]]))[0] == pytest.approx(2 / 5 + 1 / 5 * 3 / 5)
    assert boxes.average_precision(found([], [], [], [3]))[0] == 0


def test_the_threshold_leaves_out_what_is_mostly_wrong():
    said = found([0.9, 0.8, 0.3, 0.2], [1, 1, 0, 0], [0, 0, 0, 0], [2])
    assert 0.3 < boxes.best_threshold(said) < 0.8
    assert boxes.best_threshold(found([], [], [], [2])) == 0.5
    precision, recall, f1 = (values[0] for values in boxes.rates(said.above(0.5)))
    assert (precision, recall, f1) == (1, 1, 1)


def test_counts_tell_error_and_images_without_things():
    said = found([0.9, 0.8, 0.7], [1, 1, 0], [0, 0, 2], [3, 0, 0])
    told = boxes.counts(said, ["a", "b", "c"])
    assert told["count_error"] == pytest.approx(2 / 3, abs=1e-4)
    assert (told["clear"], told["clear_said_none"]) == (2, 0.5)
    assert boxes.counts(found([], [], [], [1, 1]), ["a", "b"])["correlation"] is None


def test_collected_keeps_rows_with_their_images():
    joined = boxes.collected([(np.array([[0.7]]), np.array([0.6])), (np.zeros((0, 2)), np.zeros(0)),
                              (np.array([[0.1]]), np.array([0.5]))])
    assert joined.image.tolist() == [0, 2]
    assert joined.hits.tolist() == [True, False]
    assert joined.truths.tolist() == [1, 2, 1]
