"""The UNet of LayoutDiffusion (Zheng et al. 2023, arXiv 2303.17189): it reads classes and boxes.

A layout is a sequence of classes with boxes: the whole picture first, then the objects, then the null class.
A transformer without positions fuses it, so that its order does not matter (layout fusion module, section
3.2); in every attention layer the places of the picture attend to each other and to the objects, by content
and by box (object-aware cross attention, section 3.3).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from diffusers import ModelMixin, UNet2DModel
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.attention_processor import Attention
from diffusers.models.embeddings import get_fourier_embeds_from_boundingbox
from diffusers.models.unets.unet_2d import UNet2DOutput
from torch import nn

IMAGE, NULL = "__image__", "__null__"  # the first and the last class
WHOLE = (0.0, 0.0, 1.0, 1.0)  # the box of IMAGE


@dataclass(frozen=True)
class Layout:
    """The embeddings of n layouts of length k; an index takes rows of all.

    projection: (n, time embedding); fused, by the transformer, classes and boxes: (n, k, width);
    present: (n, k) bool, False where a place is empty.
    """

    projection: torch.Tensor
    fused: torch.Tensor
    classes: torch.Tensor
    boxes: torch.Tensor
    present: torch.Tensor

    def __getitem__(self, rows: torch.Tensor) -> "Layout":
        return Layout(**{name: value[rows] for name, value in vars(self).items()})


class BoxEmbedding(nn.Module):
    """Embeddings (n, k, width) of boxes (n, k, 4): linear in the corners, as in the paper, or, where
    `frequencies` is not 0, in so many sines and cosines of each, as in GLIGEN."""

    def __init__(self, width: int, frequencies: int) -> None:
        super().__init__()
        self.frequencies, self.linear = frequencies, nn.Linear(8 * frequencies or 4, width)

    def forward(self, boxes: torch.Tensor) -> torch.Tensor:
        if self.frequencies:
            boxes = get_fourier_embeds_from_boundingbox(self.frequencies, boxes)
        return self.linear(boxes.to(self.linear.weight.dtype))


class ObjectAwareCrossAttention(nn.Module):
    """An attention processor with weights: places attend to places and to the objects of a layout.

    Queries and keys are [content; position], values content alone; the position of a place is the box that
    it covers. given: for the call to come the layouts, their model's embedding of boxes, and a list for the
    attention of places to objects, (n, heads, places, k), or None; a tuple, so that it adds no weights.
    """

    def __init__(self, attention: Attention, width: int, groups: int) -> None:
        super().__init__()
        channels = attention.inner_dim
        self.content, self.position = nn.Linear(width, 2 * channels), nn.Linear(width, channels)
        self.norm_classes = nn.GroupNorm(groups, width)
        self.norm_objects, self.norm_places = (nn.GroupNorm(groups, channels) for _ in range(2))
        self.given: tuple[Layout, BoxEmbedding, list[torch.Tensor] | None] | None = None

    def __call__(
        self, attention: Attention, hidden_states: torch.Tensor, temb: torch.Tensor | None = None, **_: None
    ) -> torch.Tensor:
        """hidden_states: (n, c, h, w); returns the same shape, with the residual. diffusers passes temb."""
        (layout, embed_boxes, seen), (height, width) = self.given, hidden_states.shape[2:]
        x = attention.group_norm(hidden_states.flatten(2)).transpose(1, 2)
        classes = self.norm_classes(layout.classes.transpose(1, 2)).transpose(1, 2)
        object_key, object_value = self.content((layout.fused + classes) / 2).chunk(2, dim=-1)
        places = embed_boxes(cells(height, width).to(x.device)[None])
        places = self._position(places, self.norm_places).expand(len(x), -1, -1)
        objects = self._position(layout.boxes, self.norm_objects)

        def split(content: torch.Tensor, *position: torch.Tensor) -> torch.Tensor:
            """[content; position] of n sequences by head, (n, heads, k, width of a head)."""
            parts = [one.unflatten(-1, (attention.heads, -1)) for one in (content, *position)]
            return torch.cat(parts, dim=-1).transpose(1, 2)

        query, key = split(attention.to_q(x), places), split(attention.to_k(x), places)
        key = torch.cat([key, split(object_key, objects)], dim=2)
        value = torch.cat([split(attention.to_v(x)), split(object_value)], dim=2)
        scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
        absent = nn.functional.pad(~layout.present, (height * width, 0))[:, None, None]
        weights = scores.masked_fill(absent, -math.inf).softmax(-1)
        if seen is not None:
            seen.append(weights[..., height * width :])
        out = attention.to_out[0]((weights @ value).transpose(1, 2).flatten(2))
        return hidden_states + out.transpose(1, 2).unflatten(2, (height, width))

    def _position(self, boxes: torch.Tensor, norm: nn.GroupNorm) -> torch.Tensor:
        return norm(self.position(boxes).transpose(1, 2)).transpose(1, 2)


class LayoutDiffusionModel(ModelMixin, ConfigMixin):
    """A UNet of diffusers whose attention sees a layout, and the transformer that encodes the layout.

    classes: their names, IMAGE first and NULL last. unet_config: of a UNet2DModel. length: of a layout, with
    the whole picture; width, layers, heads: of the transformer. frequencies: of `BoxEmbedding`.
    """

    @register_to_config
    def __init__(
        self,
        classes: Sequence[str],
        unet_config: dict,
        length: int = 10,
        width: int = 128,
        layers: int = 4,
        heads: int = 8,
        frequencies: int = 0,
    ) -> None:
        super().__init__()
        self.unet = UNet2DModel(**unet_config, class_embed_type="identity")
        self.embed_classes = nn.Embedding(len(classes), width)
        self.embed_boxes = BoxEmbedding(width, frequencies)
        options = {"dropout": 0.0, "activation": "gelu", "batch_first": True, "norm_first": True}
        layer = nn.TransformerEncoderLayer(width, heads, 4 * width, **options)
        self.fusion = nn.TransformerEncoder(layer, layers, nn.LayerNorm(width), enable_nested_tensor=False)
        self.projection = nn.Linear(width, self.unet.time_embedding.linear_2.out_features)
        groups = self.unet.config.norm_num_groups
        for attention in self.attentions:
            attention.set_processor(ObjectAwareCrossAttention(attention, width, groups))

    @property
    def attentions(self) -> list[Attention]:
        """The attention layers, from the first block to the last."""
        return [module for module in self.unet.modules() if isinstance(module, Attention)]

    def encode(self, classes: torch.Tensor, boxes: torch.Tensor) -> Layout:
        """Embeddings of layouts. classes: (n, length) indices; boxes: (n, length, 4), 0 where empty.

        The null class fills the rest. It takes part in the transformer and not in attention, as in the code
        that the published weights came with.
        """
        named, placed = self.embed_classes(classes), self.embed_boxes(boxes)
        fused = self.fusion(named + placed)
        present = classes != len(self.config.classes) - 1
        return Layout(self.projection(fused[:, 0]), fused, named, placed, present)

    def forward(
        self,
        sample: torch.Tensor,
        timestep: torch.Tensor | int,
        layout: Layout,
        seen: list[torch.Tensor] | None = None,
    ) -> UNet2DOutput:
        """The noise that is predicted for a sample (n, c, h, w). seen: gets the attention of places to
        objects, (n, heads, places, length), of every layer."""
        for attention in self.attentions:
            attention.processor.given = layout, self.embed_boxes, seen
        made = self.unet(sample, timestep, layout.projection)
        for attention in self.attentions:
            attention.processor.given = None
        return made


def cells(height: int, width: int) -> torch.Tensor:
    """The boxes (height * width, 4) that the places of a grid cover, row by row, as fractions."""
    y, x = torch.meshgrid(torch.arange(height) / height, torch.arange(width) / width, indexing="ij")
    return torch.stack([x, y, x + 1 / width, y + 1 / height], dim=-1).flatten(0, 1)
