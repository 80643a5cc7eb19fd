"""The UNet of LayoutDiffusion: the order of objects, empty places, what attention follows, saving."""

from pathlib import Path

import pytest
import torch

from data.converters.layoutdiffusion import LayoutDiffusionPipeline
from helpers.models.layout_unet import (
    IMAGE,
    NULL,
    WHOLE,
    LayoutDiffusionModel,
    cells,
)
from helpers.models.parts import network
from helpers.models.sets import Checkpoint, model_set
from tests.fakes import layoutdiffusion as fakes

X = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
CLASSES = torch.tensor([[0, 2, 1, 3, 4]])  # the last one is the null class
BOXES = torch.tensor([[WHOLE, (0.1, 0.2, 0.4, 0.9), (0.5, 0.5, 1, 1), (0, 0, 0.2, 0.3), (0, 0, 0, 0)]])


@pytest.fixture(scope="module", params=[0, 4], ids=["corners", "sines"])
def model(request):
    return fakes.model(frequencies=request.param)


def predicted(model, classes=CLASSES, boxes=BOXES, seen=None):
    with torch.no_grad():
        return model(X.expand(len(classes), -1, -1, -1), 300, model.encode(classes, boxes), seen).sample


def test_the_order_of_objects_changes_nothing_but_which_box_is_whose_does(model):
    order, expected = torch.tensor([0, 3, 4, 1, 2]), predicted(model)
    torch.testing.assert_close(
        predicted(model, CLASSES[:, order], BOXES[:, order]), expected, rtol=0, atol=1e-5
    )
    swapped = torch.tensor([0, 2, 1, 3, 4])
    assert float((predicted(model, CLASSES[:, swapped]) - expected).abs().max()) > 1e-3


def test_nothing_attends_to_an_empty_place_also_in_a_batch(model):
    classes, boxes = CLASSES.repeat(2, 1), BOXES.repeat(2, 1, 1)
    classes[1, 1:], boxes[1, 1:], seen = 4, 0, []
    together = predicted(model, classes, boxes, seen)
    assert len(seen) == len(model.attentions) == 4
    for weights in seen:
        assert (
            weights.shape[-1] == 5 and (weights[0, ..., -1] == 0).all() and (weights[1, ..., 1:] == 0).all()
        )
        assert (weights[..., 0] > 0).all() and (weights.sum(-1) < 1).all()
    for row in range(2):
        alone = predicted(model, classes[row : row + 1], boxes[row : row + 1])
        torch.testing.assert_close(together[row : row + 1], alone, rtol=0, atol=1e-5)


def test_the_cells_of_a_grid_cover_the_picture_row_by_row():
    grid = cells(2, 4)
    assert grid[1].tolist() == [0.25, 0, 0.5, 0.5] and grid[4].tolist() == [0, 0.5, 0.25, 1]
    assert float(((grid[:, 2:] - grid[:, :2]).prod(1)).sum()) == 1


def test_a_model_is_saved_with_its_classes_and_loaded_whole(model, tmp_path):
    LayoutDiffusionPipeline(model, fakes.scheduler()).save_pretrained(tmp_path)
    given = Checkpoint("saved", str(tmp_path)), tmp_path, torch.device("cpu"), torch.float32
    loaded = network(LayoutDiffusionModel, *given, "unet")
    assert tuple(loaded.config.classes) == (IMAGE, "red cone", "green cone", "traffic light", NULL)
    torch.testing.assert_close(predicted(loaded), predicted(model), rtol=0, atol=1e-5)


def test_a_box_that_moves_by_one_place_takes_its_attention_along():
    """In the shipped model, by the mean place of all that attends to the box, where places are 8 x 8."""
    checkpoint = model_set("demo").methods["layoutdiffusion"]
    given = checkpoint, Path(checkpoint.source), torch.device("cpu"), torch.float32
    model = network(LayoutDiffusionModel, *given, "unet")
    classes = torch.full((2, model.config.length), len(model.config.classes) - 1)
    boxes, seen = torch.zeros(*classes.shape, 4), []
    classes[:, 0], classes[:, 1], boxes[:, 0] = (
        0,
        model.config.classes.index("red crate"),
        torch.tensor(WHOLE),
    )
    boxes[:, 1] = torch.tensor([[0.25, 0.5, 0.5, 0.75], [0.375, 0.5, 0.625, 0.75]])
    x = torch.randn(1, 8, 16, 16, generator=torch.Generator().manual_seed(0)).expand(2, -1, -1, -1)
    with torch.no_grad():
        model(x, 900, model.encode(classes, boxes), seen)
    for weights in (one for one in seen if one.shape[2] == 64):
        targeted = weights[:, : weights.shape[1] // 2, :, 1].mean(1)  # half of the heads have targets
        x_mean = (targeted * (torch.arange(64) % 8)).sum(1) / targeted.sum(1)
        assert 0.5 < float(x_mean[1] - x_mean[0]) < 1.5
