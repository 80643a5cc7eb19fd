"""`python -m data.converters.ssagan FOLDER`: the published SSA-GAN for COCO, as this project reads it.

FOLDER holds netG_120.pth, to which the README of github.com/wtliao/text2image leads, and text_encoder100.pth
and captions.pickle of AttnGAN (see data.converters.attngan), whose text encoder it uses. Weights are read as
tensors only.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path

import torch

from data.converters import attngan
from helpers.generation.methods.ssagan import SsaGan
from helpers.models.sets import model_set

RENAMED = (  # official names -> ours, one after the other
    (r"^module\.", ""),
    (r"^fc", "linear"),
    (r"^conv_img\.0", "norm"),
    (r"^conv_img\.2", "paint"),
    (r"^conv_mask", "masks.0"),
    (r"^block(\d)\.conv_mask", lambda found: f"masks.{int(found[1]) + 1}"),
    (r"^block", "blocks."),
    (r"affine([02])\.", lambda found: f"norms.{int(found[1]) // 2}."),
    (r"\.batch_norm2d", ".norm"),
    (r"\.fc_gamma\.linear1", ".scale.0"),
    (r"\.fc_gamma\.linear2", ".scale.2"),
    (r"\.fc_beta\.linear1", ".shift.0"),
    (r"\.fc_beta\.linear2", ".shift.2"),
    (r"\.c([12])\.", lambda found: f".convolutions.{int(found[1]) - 1}."),
    (r"\.c_sc", ".shortcut"),
    (r"\.gamma$", ".gate"),
)


def generator(state: Mapping[str, torch.Tensor]) -> SsaGan:
    """The generator of an official state dict, its sizes read from it."""
    known = attngan.renamed(state, RENAMED)
    blocks = sorted(name for name in known if name.endswith("convolutions.1.weight"))
    channels = [known["blocks.0.convolutions.0.weight"].shape[1], *(len(known[name]) for name in blocks)]
    model = SsaGan(
        sides=[4 * 2**block for block in range(len(blocks))],
        channels=channels,
        width=known["blocks.0.norms.0.scale.0.weight"].shape[1],
        noise=known["linear.weight"].shape[1],
    )
    attngan.load(model, known)
    return model


def main(arguments: list[str] | None = None) -> None:
    """Print the licence and convert."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="holds the three files")
    given, checkpoint = parser.parse_args(arguments), model_set("published").methods["ssagan"]
    print(f"SSA-GAN has {checkpoint.licence}: do not pass its weights on")
    target = Path(checkpoint.source)
    attngan.save(generator(attngan.read(given.folder / "netG_120.pth")), given.folder, target)
    print(f"{target}: written")


if __name__ == "__main__":
    main()
