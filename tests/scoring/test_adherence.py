import contextlib
import io
from types import SimpleNamespace

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from helpers.scoring import adherence
from helpers.scoring.adherence import Detections, average_precision, match

NOTHING = Detections(np.empty((0, 4), np.float32), (), np.empty(0, np.float32))


def layout(*boxes: tuple[float, ...], labels: str) -> SimpleNamespace:
    return SimpleNamespace(boxes=np.array(boxes, np.float32).reshape(-1, 4), labels=tuple(labels))


def found(*boxes: tuple[float, ...], labels: str, scores: tuple[float, ...] | None = None) -> Detections:
    one = layout(*boxes, labels=labels)
    return Detections(one.boxes, one.labels, np.array(scores or [0.9] * len(labels), np.float32))


def study(
    pictures: int, kinds: str = "abcd", seed: int = 0
) -> tuple[list[SimpleNamespace], list[Detections]]:
    """Layouts, and detections that miss, move, mislabel and invent boxes."""
    rng = np.random.default_rng(seed)

    def some(n: int) -> np.ndarray:
        low = rng.uniform(0, 0.6, (n, 2))
        return np.concatenate([low, low + rng.uniform(0.05, 0.4, (n, 2))], axis=1).astype(np.float32)

    asked, answers = [], []
    for _ in range(pictures):
        boxes = some(rng.integers(1, 5))
        labels = rng.choice([*kinds], len(boxes))
        kept = rng.random(len(boxes)) < 0.8
        moved = boxes[kept] + rng.normal(0, 0.02, (kept.sum(), 1)).astype(np.float32)
        said = np.where(rng.random(kept.sum()) < 0.9, labels[kept], kinds[0])
        answer = np.concatenate([moved, some(2)])
        asked.append(SimpleNamespace(boxes=boxes, labels=tuple(labels.tolist())))
        names = (*said.tolist(), *rng.choice([*kinds], 2).tolist())
        answers.append(Detections(answer, names, rng.random(len(answer)).astype(np.float32)))
    return asked, answers


def test_a_box_is_matched_by_label_and_only_once():
    asked = layout((0, 0, 0.5, 0.5), (0, 0, 0.5, 0.4), (0.5, 0.5, 1, 1), labels="aab")
    answer = found((0, 0, 0.5, 0.5), (0.5, 0.5, 1, 1), labels="aa")
    np.testing.assert_allclose(match(asked, answer), [1, 0, 0])


def test_boxes_are_given_out_so_that_the_sum_is_largest():
    asked = layout((0, 0, 1, 1), (0, 0, 1, 0.9), labels="aa")
    answer = found((0, 0, 1, 0.95), (0, 0, 1, 0.2), labels="aa")
    assert match(asked, answer).sum() == pytest.approx(0.95 + 0.2 / 0.9, abs=1e-6)


def test_a_detector_that_finds_nothing():
    asked = [layout((0, 0, 0.5, 0.5), labels="a"), layout(labels="")]
    np.testing.assert_array_equal(match(asked[0], NOTHING), [0])
    assert match(asked[1], NOTHING).shape == (0,)
    precision = average_precision(asked, [NOTHING, NOTHING])
    np.testing.assert_array_equal(pair(precision), [0, 0])
    assert match(asked[1], found((0, 0, 1, 1), labels="a")).shape == (0,)


def test_the_curve_falls_from_all_to_none_and_its_area_is_the_mean():
    ious = np.array([0.0, 0.3, 0.5, 1.0])
    np.testing.assert_allclose(
        adherence.found_share(ious, np.array([0, 0.3, 0.5, 0.51, 1])), [1, 0.75, 0.5, 0.25, 0.25]
    )
    grid = (np.arange(1000) + 0.5) / 1000
    assert adherence.found_share(ious, grid).mean() == pytest.approx(ious.mean(), abs=1e-3)


def pair(precision: adherence.Precision, i: int | None = None) -> list[float]:
    """AP and AP50, of all pictures or without picture i."""
    parts = (precision.over[name] for name in ("AP", "AP50"))
    return [value if i is None else left_out[i] for value, left_out in parts]


def test_average_precision_agrees_with_torchmetrics():
    import torch
    from torchmetrics.detection import MeanAveragePrecision

    asked, answers = study(30)
    number = {label: i for i, label in enumerate("abcd")}

    def as_torch(one):
        boxes = torch.from_numpy(one.boxes.astype(np.float64) * 1000)
        parts = {"boxes": boxes, "labels": torch.tensor([number[label] for label in one.labels])}
        return parts | ({"scores": torch.from_numpy(one.scores)} if isinstance(one, Detections) else {})

    # its own default thresholds are rounded to float32
    grid = {"iou_thresholds": np.arange(50, 100, 5) / 100, "rec_thresholds": np.linspace(0, 1, 101)}
    options = {name: values.tolist() for name, values in grid.items()}
    reference = MeanAveragePrecision(backend="pycocotools", class_metrics=True, **options)
    reference.update([as_torch(one) for one in answers], [as_torch(one) for one in asked])
    theirs, ours = reference.compute(), average_precision(asked, answers)
    np.testing.assert_allclose(pair(ours), [theirs["map"], theirs["map_50"]], atol=1e-6)
    by_label = [ours.by["label"][label][0] for label in "abcd"]
    np.testing.assert_allclose(by_label, theirs["map_per_class"], atol=1e-6)


def as_coco(layouts: list, labels: str) -> COCO:
    """COCO's own index of labelled boxes, of a picture of 1000 x 1000 pixels."""
    coco, annotations = COCO(), []
    for image, layout in enumerate(layouts):
        for k, (box, label) in enumerate(zip(layout.boxes.astype(float) * 1000, layout.labels, strict=True)):
            size = (box[2:] - box[:2]).tolist()
            facts = {"id": len(annotations) + 1, "image_id": image, "category_id": labels.index(label)}
            facts |= {"bbox": [*box[:2].tolist(), *size], "area": size[0] * size[1]}
            facts |= {"iscrowd": 0}
            annotations.append(facts | {"score": float(getattr(layout, "scores", np.zeros(k + 1))[k])})
    images, categories = ([{"id": i} for i in range(len(some))] for some in (layouts, labels))
    coco.dataset = {"images": images, "annotations": annotations, "categories": categories}
    coco.createIndex()
    return coco


def by_pycocotools(asked: list, answers: list, labels: str) -> dict[str, float]:
    """COCOeval's own numbers, matched and accumulated by itself."""
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(as_coco(asked, labels), as_coco(answers, labels), "bbox")
        evaluation.params.maxDets, evaluation.params.areaRngLbl = [100], ["all"]
        evaluation.params.areaRng = [[0, 1e10]]
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"][..., 0, 0]  # thresholds, recalls, labels
    recall = evaluation.eval["recall"][..., 0, 0]
    parts = {"AP": precision, "AP50": precision[0], "AP75": precision[5], "AR": recall}
    return {name: part[part > -1].mean() for name, part in parts.items()}


@pytest.mark.parametrize("decimals", [1, 8], ids=["tied scores", "scores"])
@pytest.mark.parametrize("seed", range(3))
def test_all_numbers_are_those_that_pycocotools_accumulates(seed, decimals):
    asked, answers = study(12, seed=seed)
    asked[3] = SimpleNamespace(boxes=np.empty((0, 4), np.float32), labels=())
    answers = [Detections(one.boxes, one.labels, np.round(one.scores, decimals)) for one in answers]
    ours = average_precision(asked, answers)
    for i in (None, *range(12)):
        rest = [[one for k, one in enumerate(rows) if k != i] for rows in (asked, answers)]
        theirs = by_pycocotools(*rest, "abcd")
        mine = [value if i is None else left_out[i] for value, left_out in ours.over.values()]
        np.testing.assert_allclose(mine, list(theirs.values()), atol=1e-12, rtol=0)


def test_most_boxes_are_found_before_the_sum_is_large():
    asked = layout((0, 0, 1, 1), (0, 0.3, 1, 0.85), labels="aa")
    answer = found((0, 0, 1, 0.9), (0, 0, 1, 0.52), labels="aa")  # 0.9 and 0.22 / 0.85 have the larger sum
    np.testing.assert_allclose(match(asked, answer), [0.52, 0.55 / 0.9], atol=1e-6)


def test_a_box_that_is_half_found_is_found_in_float32_too():
    rng, ious = np.random.default_rng(0), []
    for low, side in zip(rng.uniform(0, 0.5, (500, 2)), rng.uniform(0.02, 0.4, (500, 2)), strict=True):
        whole, half = (*low, *(low + side)), (*low, low[0] + side[0] / 2, low[1] + side[1])
        ious.append(match(layout(whole, labels="a"), found(half, labels="a"))[0])
    assert not (np.array(ious) >= 0.5).all()
    assert adherence.reaches(ious).all() and not adherence.reaches(ious, 0.51).any()
    assert adherence.found_share(np.array(ious), np.array([0.5]))[0] == 1


def test_average_precision_without_a_picture_is_what_is_computed_without_it():
    asked, answers = study(8, kinds="abcde")
    whole = average_precision(asked, answers)
    for i in range(8):
        alone = average_precision(asked[:i] + asked[i + 1 :], answers[:i] + answers[i + 1 :])
        np.testing.assert_allclose(pair(whole, i), pair(alone), atol=1e-12)


def test_a_label_that_leaves_with_its_only_picture_does_not_count_as_zero():
    asked = [
        layout((0, 0, 0.5, 0.5), labels="a"),
        layout((0, 0, 0.5, 0.5), labels="a"),
        layout((0, 0, 1, 1), labels="b"),
    ]
    answers = [found((0, 0, 0.5, 0.5), labels="a")] * 2 + [NOTHING]
    np.testing.assert_allclose(pair(average_precision(asked, answers), 2), [1, 1])


def test_perfect_boxes_reach_one_and_silence_is_kept(capsys):
    asked, _ = study(5)
    answers = [Detections(one.boxes, one.labels, np.full(len(one.labels), 0.9)) for one in asked]
    precision = average_precision(asked, answers)
    np.testing.assert_allclose(pair(precision), [1, 1])
    assert set(precision.by["size"]) <= set(adherence.SIZES)
    assert all(values == pytest.approx([1, 1]) for values in precision.by["size"].values())
    assert capsys.readouterr().out == ""


def test_sizes_are_seen_apart():
    asked = [layout((0, 0, 0.1, 0.1), (0.2, 0.2, 1, 1), labels="aa")]
    precision = average_precision(asked, [found((0.2, 0.2, 1, 1), labels="a")])
    assert precision.by["size"]["large"] == pytest.approx([1, 1])
    assert precision.by["size"]["small"] == pytest.approx([0, 0])
    assert "medium" not in precision.by["size"]


def test_size_names_go_by_the_area():
    boxes = np.array([[0, 0, 0.1, 0.1], [0, 0, 0.2, 0.2], [0, 0, 0.2, 0.5], [0, 0, 1, 1]])
    assert adherence.size_of(boxes) == ["small", "medium", "large", "large"]


def test_what_cannot_be_measured_is_said():
    with pytest.raises(ValueError, match="1 layouts, but detections of 2"):
        average_precision([layout(labels="")], [NOTHING, NOTHING])
    with pytest.raises(ValueError, match="no box is asked for"):
        average_precision([layout(labels="")], [NOTHING])
