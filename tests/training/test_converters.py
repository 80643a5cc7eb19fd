"""The converter of LayoutDiffusion, against a network with the official names, written from the paper."""

import math

import pytest
import torch
import torch.nn.functional as F

from data.converters.layoutdiffusion import COCO_STUFF, convert, main
from helpers.generation.methods.layoutdiffusion import class_of, load
from helpers.models import sets
from helpers.models.checkpoints import CheckpointMissing
from helpers.models.layout_unet import IMAGE, NULL

CLASSES = (IMAGE, *"abcde", NULL)
LENGTH, WIDTH, HEADS, CHANNELS = 4, 64, 8, (32, 64)


class Official:
    """Two levels of the network, attention on the second; weights are made when first used."""

    def __init__(self) -> None:
        self.state, self.random = {}, torch.Generator().manual_seed(0)

    def weight(self, name: str, *shape: int) -> torch.Tensor:
        if name not in self.state:
            scale = 1 / math.sqrt(math.prod(shape[1:]) or 1) if len(shape) > 1 else 0.1
            self.state[name] = scale * torch.randn(shape, generator=self.random)
        return self.state[name]

    def norm(self, x, name):
        c = x.shape[1]
        return F.group_norm(x, 32, 1 + self.weight(f"{name}.weight", c), self.weight(f"{name}.bias", c))

    def linear(self, x, name, out):
        return F.linear(x, self.weight(f"{name}.weight", out, x.shape[-1]), self.weight(f"{name}.bias", out))

    def conv(self, x, name, out, side):
        kernel = self.weight(f"{name}.weight", out, x.shape[1], *[side] * (x.dim() - 2))
        return (F.conv1d if x.dim() == 3 else F.conv2d)(
            x, kernel, self.weight(f"{name}.bias", out), padding=side // 2
        )

    def resnet(self, x, emb, name, out, sample=lambda x: x):
        h = self.conv(sample(F.silu(self.norm(x, f"{name}.in_layers.0"))), f"{name}.in_layers.2", out, 3)
        scale, shift = self.linear(F.silu(emb), f"{name}.emb_layers.1", 2 * out)[..., None, None].chunk(2, 1)
        h = F.silu(self.norm(h, f"{name}.out_layers.0") * (1 + scale) + shift)
        h, x = self.conv(h, f"{name}.out_layers.3", out, 3), sample(x)
        return h + (x if x.shape[1] == out else self.conv(x, f"{name}.skip_connection", out, 1))

    def attention(self, x, name, layout):
        (b, c), side, heads = x.shape[:2], x.shape[2], x.shape[1] // (CHANNELS[0] // 4)

        def position(boxes, norm):
            embedded = self.linear(boxes, "layout_encoder.obj_bbox_embedding", WIDTH).transpose(1, 2)
            name_of = f"{name}.layout_position_embedding_projector"
            return self.norm(
                self.conv(embedded, name_of, c, 1), f"{name}.norm_for_{norm}_positional_embedding"
            )

        def split(*parts):
            return torch.cat([one.reshape(b * heads, -1, one.shape[-1]) for one in parts], 1)

        cells = [
            [j / side, i / side, (j + 1) / side, (i + 1) / side] for i in range(side) for j in range(side)
        ]
        qkv = self.conv(self.norm(x.flatten(2), f"{name}.norm_for_qkv"), f"{name}.qkv_projector", 3 * c, 1)
        query, key, value = qkv.split(c, 1)
        classes = self.norm(layout["classes"].transpose(1, 2), f"{name}.norm_for_obj_class_embedding")
        content = (layout["fused"].transpose(1, 2) + classes) / 2
        content = self.conv(content, f"{name}.layout_content_embedding_projector", 2 * c, 1)
        places = position(torch.tensor(cells).expand(b, -1, -1), "image_patch")
        objects = position(layout["boxes"], "layout")
        keys = torch.cat([split(key, places), split(content[:, :c], objects)], 2)
        scores = torch.einsum("bct,bcs->bts", split(query, places), keys) / math.sqrt(2 * c // heads)
        mask = torch.cat([torch.zeros(b, side**2, dtype=bool), layout["absent"]], 1)
        scores = scores.masked_fill(mask.repeat_interleave(heads, 0)[:, None], -math.inf)
        values = torch.cat([split(value), split(content[:, c:])], 2)
        out = torch.einsum("bts,bcs->bct", scores.softmax(-1), values).reshape(b, c, -1)
        return x + self.conv(out, f"{name}.proj_out", c, 1).reshape(x.shape)

    def encode(self, classes, boxes):
        names, place = (
            self.weight("layout_encoder.obj_class_embedding.weight", len(CLASSES), WIDTH),
            "layout_encoder",
        )
        x = named = names[classes]
        x = x + self.linear(boxes, f"{place}.obj_bbox_embedding", WIDTH)

        def norm(x, name):
            weights = 1 + self.weight(f"{name}.weight", WIDTH), self.weight(f"{name}.bias", WIDTH)
            return F.layer_norm(x, (WIDTH,), *weights)

        for layer in range(2):
            block = f"{place}.transform.resblocks.{layer}"
            qkv = self.linear(norm(x, f"{block}.ln_1"), f"{block}.attn.c_qkv", 3 * WIDTH)
            query, key, value = qkv.unflatten(-1, (HEADS, -1)).split(WIDTH // HEADS, -1)
            scores = torch.einsum("bthc,bshc->bhts", query, key) / math.sqrt(WIDTH // HEADS)
            out = torch.einsum("bhts,bshc->bthc", scores.softmax(-1), value).flatten(2)
            x = x + self.linear(out, f"{block}.attn.c_proj", WIDTH)
            hidden = F.gelu(self.linear(norm(x, f"{block}.ln_2"), f"{block}.mlp.c_fc", 4 * WIDTH))
            x = x + self.linear(hidden, f"{block}.mlp.c_proj", WIDTH)
        x = norm(x, f"{place}.final_ln")
        absent = classes == len(CLASSES) - 1
        projected = self.linear(x[:, 0], f"{place}.transformer_proj", 4 * CHANNELS[0])
        return {"fused": x, "classes": named, "boxes": boxes, "absent": absent}, projected

    def __call__(self, x, time, classes, boxes):
        angles = time * torch.exp(-math.log(10000) * torch.arange(CHANNELS[0] // 2) / (CHANNELS[0] // 2))
        emb = torch.cat([angles.cos(), angles.sin()])[None]
        emb = self.linear(F.silu(self.linear(emb, "time_embed.0", 128)), "time_embed.2", 128)
        layout, projected = self.encode(classes, boxes)
        emb, first, second = emb + projected, *CHANNELS
        h = self.conv(x, "input_blocks.0.0", first, 3)
        kept = [h]
        for number, out in ((1, first), (2, first), (3, first), (4, second), (5, second)):
            down = (lambda x: F.avg_pool2d(x, 2)) if number == 3 else lambda x: x
            h = self.resnet(h, emb, f"input_blocks.{number}.0", out, down)
            h = self.attention(h, f"input_blocks.{number}.1", layout) if number > 3 else h
            kept.append(h)
        h = self.resnet(h, emb, "middle_block.0", second)
        h = self.resnet(self.attention(h, "middle_block.1", layout), emb, "middle_block.2", second)
        for number, out in enumerate((second,) * 3 + (first,) * 3):
            h = self.resnet(torch.cat([h, kept.pop()], 1), emb, f"output_blocks.{number}.0", out)
            h = self.attention(h, f"output_blocks.{number}.1", layout) if number < 3 else h
            if number == 2:
                h = self.resnet(
                    h, emb, f"output_blocks.{number}.2", out, lambda x: F.interpolate(x, scale_factor=2)
                )
        return self.conv(F.silu(self.norm(h, "out.0")), "out.2", 6, 3)


@pytest.fixture(scope="module")
def official():
    """An official state dict, an input, and what the network makes of it."""
    network, random = Official(), torch.Generator().manual_seed(1)
    classes = torch.tensor([[0, 3, 1, 6], [0, 6, 6, 6]])
    boxes = torch.tensor([[[0, 0, 1, 1], [0.1, 0.2, 0.5, 0.9], [0.4, 0, 0.8, 0.3], [0, 0, 0, 0]]]).repeat(
        2, 1, 1
    )
    boxes[1, 1:] = 0
    given = torch.randn(2, 3, 16, 16, generator=random), 417, classes, boxes
    made = network(*given)
    ones = [".norm_for_", ".in_layers.0.", ".out_layers.0.", "out.0.", ".ln_", ".final_ln."]
    norms = {name for name in network.state if name.endswith("weight") and any(one in name for one in ones)}
    return {name: value + (name in norms) for name, value in network.state.items()}, given, made


def test_a_converted_model_is_the_official_one(official):
    state, (x, time, classes, boxes), expected = official
    model = convert(state, CLASSES, LENGTH)
    with torch.no_grad():
        made = model(x, time, model.encode(classes, boxes)).sample
    assert float((made - expected).abs().max() / expected.abs().max()) < 1e-4
    assert float((made[0] - made[1]).abs().max()) > 1e-2


def test_a_file_is_converted_into_what_the_published_set_loads(official, tmp_path, monkeypatch):
    monkeypatch.setenv("GROUNDED_DATA", str(tmp_path))
    with pytest.raises(
        CheckpointMissing, match=r"(?s)to be converted.*data\.converters\.layoutdiffusion FILE"
    ):
        load(sets.model_set("published"))
    torch.save(official[0], tmp_path / "official.pt")
    (tmp_path / "classes.txt").write_text("\n".join(CLASSES))
    main([str(tmp_path / "official.pt"), "--classes", str(tmp_path / "classes.txt"), "--length", str(LENGTH)])
    parts = load(sets.model_set("published"))
    assert parts.vae is None and parts.unet.config.sample_size == 16 and len(parts.commit) == 16
    assert parts.scheduler.config.beta_schedule == "linear"


@pytest.mark.parametrize(
    ("changed", "classes", "said"),
    [
        ({}, CLASSES[:-1], "7 classes in the weights, 6 names"),
        ({"input_blocks.9.0.strange.weight": torch.zeros(1)}, CLASSES, "not the weights of a published Lay"),
        ({"strange": torch.zeros(1)}, CLASSES, "not the weights of a published LayoutDiffusion: 'strange"),
        ({"out.2.bias": torch.zeros(7)}, CLASSES, "size mismatch for unet.conv_out.bias"),
    ],
)
def test_what_is_no_published_state_dict_is_refused(official, changed, classes, said):
    with pytest.raises(ValueError, match=said):
        convert(official[0] | changed, classes, LENGTH)
    with pytest.raises(ValueError, match="not the weights of a published LayoutDiffusion"):
        convert({}, CLASSES, LENGTH)


@pytest.mark.parametrize(
    ("phrase", "name"),
    [
        ("a dog", "dog"),
        ("two Traffic Lights", "traffic light"),
        ("a person on a bicycle", "person"),
        ("a tall building", "building-other"),
        ("a door", "door-stuff"),
        ("a red helmet", None),
        ("another null", None),
    ],
)
def test_labels_are_matched_to_coco_stuff_by_word(phrase, name):
    classes = COCO_STUFF.read_text().splitlines()
    assert len(classes) == 185 and classes[0] == IMAGE and classes[-1] == NULL
    assert classes[1] == "person" and classes[92] == "banner" and classes[182] == "wood"
    found = class_of(phrase, classes)
    assert (None if found is None else classes[found]) == name
