"""Reading one part of a checkpoint: a tokenizer, processor, scheduler, configuration, or network."""

import pickle
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import diffusers
import torch
import transformers
from safetensors import SafetensorError
from torch import nn

from helpers.models.checkpoints import CheckpointMissing, Missing
from helpers.models.sets import Checkpoint

UNREADABLE = (OSError, ValueError, RuntimeError, EOFError, pickle.UnpicklingError, SafetensorError)
FEWEST_WORDS = 10  # of a vocabulary, beside special tokens
# Weights that published files hold beside the model's: position numbers, which old versions saved, CLIP's
# text half in GLIGEN's image encoder, and how many batches trained a frozen norm of DETR
UNUSED = re.compile(r"(position_ids|num_batches_tracked)$|^(text_model|text_projection|logit_scale)\b")


def read(kind: type, checkpoint: Checkpoint, folder: Path, part: str = "") -> object:
    """A tokenizer, processor, scheduler or configuration of that class. Raises CheckpointMissing."""
    try:
        with quiet():
            made = kind.from_pretrained(folder / part, local_files_only=True)
    except UNREADABLE as error:
        raise _unreadable(checkpoint, folder, part, (".json", ".txt", ".model"), error) from error
    tokenizer = getattr(made, "tokenizer", made)
    if isinstance(tokenizer, transformers.PreTrainedTokenizerBase):
        # Without its vocabulary a tokenizer loads all the same, with hardly more than special tokens.
        special = {str(token) for token in tokenizer.added_tokens_decoder.values()}
        if len(tokenizer.get_vocab().keys() - special) < FEWEST_WORDS:
            place, problem = str(folder / part), "its tokenizer has no vocabulary"
            raise CheckpointMissing(Missing(checkpoint, place, problem, absent=("vocabulary",)))
    return made


def network(
    kind: type[nn.Module],
    checkpoint: Checkpoint,
    folder: Path,
    device: torch.device,
    dtype: torch.dtype,
    part: str = "",
    **options: object,
) -> nn.Module:
    """A network of that class with all its weights, in evaluation mode and without gradients.

    Safetensors are read where there are any, else `.bin` files, as tensors only. Raises CheckpointMissing
    where files or weights are absent or damaged, and for weights that the network does not read, but UNUSED.
    """
    place = folder / part
    options |= {"dtype": dtype, "variant": checkpoint.variant, "local_files_only": True}
    options["use_safetensors"] = any(place.glob("*.safetensors"))
    if issubclass(kind, transformers.PreTrainedModel):  # whose own error names no weight
        options["ignore_mismatched_sizes"] = True
    try:
        with quiet():
            model, info = kind.from_pretrained(place, output_loading_info=True, **options)
    except UNREADABLE as error:
        raise _unreadable(checkpoint, folder, part, (".safetensors", ".bin"), error) from error
    problems = {
        "weights of another size for": [name for name, *_ in info["mismatched_keys"]],
        "no weights for": info["missing_keys"],
        "a model without a place for": [one for one in info["unexpected_keys"] if not UNUSED.search(one)],
    }
    for problem, names in problems.items():
        if names:
            problem = f"{problem} {', '.join(sorted(names)[:3])} ({len(names)} in all)"
            raise CheckpointMissing(Missing(checkpoint, str(place), problem))
    return model.to(device).eval().requires_grad_(False)


@contextmanager
def quiet() -> Iterator[None]:
    """The libraries without progress bars and load reports: `network` raises what matters of these."""
    library, bars = transformers.utils.logging, transformers.utils.logging.is_progress_bar_enabled()
    levels = [(one, one.get_verbosity()) for one in (library, diffusers.utils.logging)]
    for one, _ in levels:
        one.set_verbosity_error()
    library.disable_progress_bar()
    try:
        yield
    finally:
        for one, level in levels:
            one.set_verbosity(level)
        if bars:
            library.enable_progress_bar()


def _unreadable(
    checkpoint: Checkpoint, folder: Path, part: str, suffixes: tuple[str, ...], error: Exception
) -> CheckpointMissing:
    """The error with the files that a download must replace."""
    files = sorted(path for path in (folder / part).glob("*") if path.suffix in suffixes)
    names = tuple(path.relative_to(folder).as_posix() for path in files)
    return CheckpointMissing(
        Missing(checkpoint, str(folder / part), f"cannot be read: {error}", damaged=names)
    )
