"""`python -m data.converters.attngan FOLDER`: the published AttnGAN for COCO, as this project reads it.

FOLDER holds coco_AttnGAN2.pth, text_encoder100.pth and captions.pickle of the hub's repository
mediasynthesismuseum/attngan-coco (MIT licence, as the code of github.com/taoxugit/AttnGAN). Weights are read
as tensors only; of the vocabulary, a pickle, nothing but lists, dictionaries, numbers and texts.
"""

import argparse
import pickle
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch

from helpers.generation.methods.attngan import AttnGan
from helpers.generation.methods.gans import GanPipeline, Words
from helpers.models.sets import model_set

RENAMED = (  # official names -> ours, one after the other
    (r"^module\.", ""),
    (r"^ca_net\.fc", "augmentation"),
    (r"^h_net1\.fc\.0", "first.linear"),
    (r"^h_net1\.fc\.1", "first.norm"),
    (r"^h_net1\.upsample(\d)", lambda found: f"first.doublings.{int(found[1]) - 1}"),
    (r"^h_net(\d)", lambda found: f"further.{int(found[1]) - 2}"),
    (r"\.att\.conv_context", ".attention.project"),
    (r"^img_net(\d)\.img\.0", lambda found: f"pictures.{int(found[1]) - 1}"),
)
TEXT = (("^module\\.", ""), ("^encoder", "embed"), ("^rnn", "lstm"))


class PlainUnpickler(pickle.Unpickler):
    """Reads what is made of built-in containers, numbers and texts; refuses all else, without running it."""

    def find_class(self, module: str, name: str) -> type:
        raise pickle.UnpicklingError(f"the vocabulary names {module}.{name}, which no list of words needs")


def renamed(state: Mapping[str, torch.Tensor], names: Iterable[tuple]) -> dict[str, torch.Tensor]:
    """A state dict with its names replaced."""
    made = {}
    for name, value in state.items():
        for pattern, new in names:
            name = re.sub(pattern, new, name)
        made[name] = value
    return made


def generator(state: Mapping[str, torch.Tensor]) -> AttnGan:
    """The generator of an official state dict, its sizes read from it."""
    known = renamed(state, RENAMED)
    known = {n: v.flatten(1) if n.endswith("attention.project.weight") else v for n, v in known.items()}
    stages = len([name for name in known if name.startswith("pictures.")])
    channels = known["pictures.0.weight"].shape[1]
    condition = len(known["augmentation.bias"]) // 4
    model = AttnGan(
        (channels,) * stages,
        doublings=_count(known, r"first\.doublings\.(\d+)"),
        residual_blocks=_count(known, r"further\.0\.residual\.(\d+)"),
        width=known["augmentation.weight"].shape[1],
        noise=known["first.linear.weight"].shape[1] - condition,
        condition=condition,
    )
    load(model, known)
    return model


def words(state: Mapping[str, torch.Tensor], vocabulary: Mapping[int, str]) -> Words:
    """The text encoder of an official state dict. vocabulary: index -> word."""
    known = renamed(state, TEXT)
    rows, width = known["embed.weight"].shape
    model = Words(
        [vocabulary[index] for index in range(rows)], width, 2 * known["lstm.weight_hh_l0"].shape[1]
    )
    load(model, known)
    return model


def load(model: torch.nn.Module, state: Mapping[str, torch.Tensor]) -> None:
    """Load a state dict, in which numbers of batches seen may be missing. Raises ValueError."""
    missing, unexpected = model.load_state_dict(state, strict=False)
    missing = [name for name in missing if not name.endswith("num_batches_tracked")]
    if missing or unexpected:
        raise ValueError(f"not the published checkpoint: missing {missing[:3]}, unexpected {unexpected[:3]}")


def save(model: torch.nn.Module, folder: Path, target: Path) -> None:
    """Write a checkpoint of a generator with AttnGAN's text encoder, which `folder` holds."""
    with (folder / "captions.pickle").open("rb") as file:
        vocabulary = PlainUnpickler(file, encoding="latin1").load()[2]
    text_encoder = words(read(folder / "text_encoder100.pth"), vocabulary)
    GanPipeline(model, text_encoder, tokenizer=None, vae=None).save_pretrained(target)


def read(file: Path) -> dict[str, torch.Tensor]:
    """A state dict, as tensors only."""
    return torch.load(file, map_location="cpu", weights_only=True)


def main(arguments: list[str] | None = None) -> None:
    """Convert."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="holds the three files")
    given, target = parser.parse_args(arguments), Path(model_set("published").methods["attngan"].source)
    save(generator(read(given.folder / "coco_AttnGAN2.pth")), given.folder, target)
    print(f"{target}: written")


def _count(state: Mapping[str, torch.Tensor], pattern: str) -> int:
    return len({found[1] for name in state if (found := re.match(pattern, name))})


if __name__ == "__main__":
    main()
