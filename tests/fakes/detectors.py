"""Random object detectors with classes of their own, as AutoModelForObjectDetection loads them."""

from pathlib import Path

import torch
from transformers import (
    DetrConfig,
    DetrForObjectDetection,
    DetrImageProcessor,
    ResNetConfig,
    RTDetrConfig,
    RTDetrForObjectDetection,
    RTDetrImageProcessor,
    RTDetrResNetConfig,
    YolosConfig,
    YolosForObjectDetection,
    YolosImageProcessor,
)

SIDE = {"height": 64, "width": 64}
TINY = {"d_model": 16, "encoder_attention_heads": 2, "decoder_attention_heads": 2, "decoder_layers": 1}
TINY |= {"encoder_layers": 1, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "num_queries": 8}
BLOCKS = {"embedding_size": 8, "hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1], "layer_type": "basic"}


def write_detector(
    folder: Path, kind: str = "yolos", classes: tuple[str, ...] = ("Cone", "hard_hat")
) -> Path:
    """Save a random detector: "yolos", "detr" or "rt_detr". Returns the folder."""
    names = {"id2label": dict(enumerate(classes)), "label2id": {name: k for k, name in enumerate(classes)}}
    torch.manual_seed(0)
    if kind == "yolos":
        sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
        sizes |= {"image_size": [64, 64], "patch_size": 16, "num_detection_tokens": 8}
        model = YolosForObjectDetection(YolosConfig(**sizes, **names))
        processor = YolosImageProcessor(size=SIDE)
    elif kind == "detr":
        backbone = ResNetConfig(**BLOCKS, out_features=["stage4"])
        options = {"use_timm_backbone": False, "use_pretrained_backbone": False, "backbone": None}
        config = DetrConfig(backbone_config=backbone, **options, **TINY, **names)
        model, processor = DetrForObjectDetection(config), DetrImageProcessor(size=SIDE)
    else:
        backbone = RTDetrResNetConfig(**BLOCKS, out_features=["stage2", "stage3", "stage4"])
        sizes = {
            "encoder_in_channels": [8, 16, 16],
            "decoder_in_channels": [16, 16, 16],
            "feat_strides": [8, 16, 32],
        }
        sizes |= {"encoder_hidden_dim": 16, "num_denoising": 0, "decoder_n_points": 2}
        config = RTDetrConfig(backbone_config=backbone, **sizes, **TINY, **names)
        model, processor = RTDetrForObjectDetection(config), RTDetrImageProcessor(size=SIDE)
    model.eval().save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
