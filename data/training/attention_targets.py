"""Attention targets for the gated layers: which grounding token each place of the picture attends to.

The denoising loss hardly shows whether a picture follows its boxes, so half of the heads of every gated
layer have targets: a place inside a box attends to that box's token, a place outside all boxes to none.
"""

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention import GatedSelfAttentionDense
from diffusers.models.attention_processor import AttnProcessor2_0

WEIGHT = 0.05  # of this loss beside the denoising loss


class RecordingProcessor:
    """An attention processor that records the attention weights of half of the heads.

    After a call `weights` is (batch, heads / 2, visual tokens, grounding tokens); each row sums to at most 1.
    """

    def __init__(self, grounding_tokens: int):
        self.grounding_tokens, self.weights = grounding_tokens, None

    def __call__(self, attention, hidden_states: torch.Tensor, *_, **__) -> torch.Tensor:
        visual = hidden_states.shape[1] - self.grounding_tokens

        def split(x: torch.Tensor) -> torch.Tensor:
            return x.unflatten(-1, (attention.heads, -1)).transpose(1, 2)

        query, key, value = (
            split(attention.to_q(hidden_states[:, :visual])),
            attention.to_k(hidden_states),
            attention.to_v(hidden_states),
        )
        weights = (query @ split(key).transpose(-1, -2) * attention.scale).softmax(-1)
        self.weights = weights[:, : attention.heads // 2, :, visual:]
        return attention.to_out[0]((weights @ split(value)).transpose(1, 2).flatten(2))


def coverage(boxes: torch.Tensor, side: int) -> torch.Tensor:
    """Share of each cell of a side x side grid that each box covers, (b, side * side, n).

    boxes: (b, n, 4) fractions.
    """
    edge = torch.arange(side, device=boxes.device) / side
    low, high = boxes[..., None, :2], boxes[..., None, 2:]
    cells = torch.stack([edge, edge], -1)
    along = (torch.minimum(high, cells + 1 / side) - torch.maximum(low, cells)).clamp(min=0) * side
    return torch.einsum("bnx,bny->byxn", along[..., 0], along[..., 1]).flatten(1, 2)


def attention_loss(weights: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of attention weights against the tokens of the boxes that cover each place.

    weights: (b, heads, side * side, tokens); boxes: (b, n, 4), zeros where absent. Tokens are n of
    text, or n of text followed by n of images. The target is each box's share of a place; places in boxes
    and outside count equally.
    """
    count = boxes.shape[1]
    shares = coverage(boxes, round(weights.shape[2] ** 0.5))
    shares = (shares / shares.sum(-1, keepdim=True).clamp(min=1))[:, None]
    weights = weights.float().unflatten(-1, (-1, count)).sum(-2)
    present = (boxes[:, :, 2] > boxes[:, :, 0])[:, None, None].float()
    elsewhere = 1 - (weights * present).sum(-1)
    inside, outside = shares.sum(-1), 1 - shares.sum(-1)
    missed = -(shares * (weights + 1e-4).log()).sum(-1)
    strayed = -outside * (elsewhere + 1e-4).log()
    heads = weights.shape[1]
    return missed.sum() / (inside.sum() * heads + 1) + strayed.sum() / (outside.sum() * heads + 1)


def record_attention(unet: UNet2DConditionModel, grounding_tokens: int) -> list[RecordingProcessor]:
    """Put a recording processor into every gated layer; returns them, from the first block to the last."""
    processors = [RecordingProcessor(grounding_tokens) for _ in fusers(unet)]
    for fuser, processor in zip(fusers(unet), processors, strict=True):
        fuser.attn.set_processor(processor)
    return processors


def restore_attention(unet: UNet2DConditionModel) -> UNet2DConditionModel:
    """Put diffusers' own attention processor back everywhere; returns the UNet."""
    unet.set_attn_processor(AttnProcessor2_0())
    return unet


def mean_attention_loss(processors: list[RecordingProcessor], boxes: torch.Tensor) -> dict[str, torch.Tensor]:
    """The weighted attention loss of the last call, averaged over the gated layers, by its name."""
    total = sum(attention_loss(one.weights, boxes) for one in processors)
    return {"attention": WEIGHT * total / len(processors)}


def fusers(unet: UNet2DConditionModel) -> list[GatedSelfAttentionDense]:
    """The gated layers, from the first block to the last."""
    return [module for module in unet.modules() if isinstance(module, GatedSelfAttentionDense)]
