"""Teaching the gated layers where to look.

The denoising loss hardly shows whether a picture follows its boxes, so half of the heads of every gated layer
are
taught directly: from a place inside a box, look at that box's token; from a place outside all boxes, at none.
"""

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention import GatedSelfAttentionDense
from diffusers.models.attention_processor import AttnProcessor2_0

LOOKING = 0.05  # weight of this loss beside the denoising loss


class WatchedAttention:
    """Attention of a fuser that keeps what half of its heads give to the grounding tokens.

    After a call `given` is (batch, heads / 2, visual tokens, grounding tokens), each row summing to at most
    1.
    """

    def __init__(self, grounding_tokens: int):
        self.grounding_tokens, self.given = grounding_tokens, None

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
        self.given = weights[:, : attention.heads // 2, :, visual:]
        return attention.to_out[0]((weights @ split(value)).transpose(1, 2).flatten(2))


def coverage(boxes: torch.Tensor, side: int) -> torch.Tensor:
    """Share of each cell of a side x side grid that each box covers. boxes (b, n, 4) fractions; (b, side *
    side, n).
    """
    edge = torch.arange(side, device=boxes.device) / side
    low, high = boxes[..., None, :2], boxes[..., None, 2:]
    cells = torch.stack([edge, edge], -1)
    along = (torch.minimum(high, cells + 1 / side) - torch.maximum(low, cells)).clamp(min=0) * side
    return torch.einsum("bnx,bny->byxn", along[..., 0], along[..., 1]).flatten(1, 2)


def looking_loss(given: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
    """How far the heads are from looking, from each place, at the tokens of the boxes that cover it.

    given: (b, heads, side * side, tokens) attention; boxes: (b, n, 4), zeros where absent. Tokens are n of
    text, or n of text followed by n of images. Cross-entropy against each box's share of a place, places in
    boxes and outside counting equally.
    """
    count = boxes.shape[1]
    shares = coverage(boxes, round(given.shape[2] ** 0.5))
    shares = (shares / shares.sum(-1, keepdim=True).clamp(min=1))[:, None]
    given = given.float().unflatten(-1, (-1, count)).sum(-2)
    present = (boxes[:, :, 2] > boxes[:, :, 0])[:, None, None].float()
    elsewhere = 1 - (given * present).sum(-1)
    inside, outside = shares.sum(-1), 1 - shares.sum(-1)
    missed = -(shares * (given + 1e-4).log()).sum(-1)
    strayed = -outside * (elsewhere + 1e-4).log()
    heads = given.shape[1]
    return missed.sum() / (inside.sum() * heads + 1) + strayed.sum() / (outside.sum() * heads + 1)


def watch_fusers(unet: UNet2DConditionModel, grounding_tokens: int) -> list[WatchedAttention]:
    """Give every fuser an attention that can be watched."""
    watched = []
    for fuser in fusers(unet):
        fuser.attn.set_processor(WatchedAttention(grounding_tokens))
        watched.append(fuser.attn.processor)
    return watched


def unwatched(unet: UNet2DConditionModel) -> UNet2DConditionModel:
    """The UNet with diffusers' own attention everywhere."""
    unet.set_attn_processor(AttnProcessor2_0())
    return unet


def looking(watched: list[WatchedAttention], boxes: torch.Tensor) -> dict[str, torch.Tensor]:
    """The looking loss, averaged over the gated layers."""
    return {"looking": LOOKING * sum(looking_loss(one.given, boxes) for one in watched) / len(watched)}


def fusers(unet: UNet2DConditionModel) -> list[GatedSelfAttentionDense]:
    """The gated layers, from the first block to the last."""
    return [module for module in unet.modules() if isinstance(module, GatedSelfAttentionDense)]
