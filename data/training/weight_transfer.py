"""Weight transfer of vision transformers: CLIP's to the detector, the detector's to the captioners.

Each begins where the one before ended, which is what makes short trainings enough.
"""

import torch
import torch.nn.functional as F
from transformers import Blip2ForConditionalGeneration, CLIPModel, Owlv2ForObjectDetection


def clip_to_detector(clip: CLIPModel, detector: Owlv2ForObjectDetection) -> None:
    """Give the detector CLIP's vision transformer, its position embeddings stretched to the finer grid."""
    weights, key = clip.vision_model.state_dict(), "embeddings.position_embedding.weight"
    weights = {name.replace("pre_layrnorm", "pre_layernorm"): value for name, value in weights.items()}
    first, rest = weights[key][:1], weights[key][1:]
    side, grid = int(len(rest) ** 0.5), (detector.num_patches_height, detector.num_patches_width)
    stretched = F.interpolate(rest.T.reshape(1, -1, side, side), grid, mode="bicubic")
    weights[key] = torch.cat([first, stretched.flatten(2)[0].T])
    detector.owlv2.vision_model.load_state_dict(weights)


@torch.no_grad()
def detector_to_captioner(
    detector: Owlv2ForObjectDetection, captioner: Blip2ForConditionalGeneration, pixels: torch.Tensor
) -> None:
    """Give the captioner the detector's vision transformer, which locates objects and their colours.

    OWLv2 normalises the embedded patches, BLIP-2 does not: mean, weight and bias of that norm go into the
    embeddings exactly, its division by the deviation only on average over some photos, `pixels` (n, 3, h, w).
    """
    theirs, ours = detector.owlv2.vision_model, captioner.vision_model
    norm, old, new = theirs.pre_layernorm, theirs.embeddings, ours.embeddings
    deviation = old(pixels)[:, 1:].var(-1, unbiased=False).sqrt().mean()
    places, filters = old.position_embedding.weight, old.patch_embedding.weight
    gain = norm.weight / deviation
    new.patch_embedding.weight.copy_(gain[:, None, None, None] * (filters - filters.mean(0)))
    new.patch_embedding.bias.zero_()
    new.position_embedding.copy_(gain * (places - places.mean(-1, keepdim=True)) + norm.bias)
    new.class_embedding.copy_(norm(old.class_embedding + places[0]) - new.position_embedding[0, 0])
    for old, new in zip(theirs.encoder.layers, ours.encoder.layers, strict=True):
        attention = [old.self_attn.q_proj, old.self_attn.k_proj, old.self_attn.v_proj]
        new.self_attn.qkv.weight.copy_(torch.cat([part.weight for part in attention]))
        new.self_attn.qkv.bias.copy_(torch.cat([part.bias for part in attention]))
        new.self_attn.projection.load_state_dict(old.self_attn.out_proj.state_dict())
        for part in ("layer_norm1", "layer_norm2", "mlp"):
            getattr(new, part).load_state_dict(getattr(old, part).state_dict())
    ours.post_layernorm.load_state_dict(theirs.post_layernorm.state_dict())


def captioner_to_captioner(
    given: Blip2ForConditionalGeneration, taken: Blip2ForConditionalGeneration
) -> None:
    """Give a captioner all of another one but its language. Raises ValueError if more differs."""
    shared = {
        key: value for key, value in given.state_dict().items() if not key.startswith("language_model.")
    }
    missing, unexpected = taken.load_state_dict(shared, strict=False)
    different = [key for key in [*missing, *unexpected] if not key.startswith("language_model.")]
    if different:
        raise ValueError(f"the captioners differ in more than their language: {', '.join(different)}")
