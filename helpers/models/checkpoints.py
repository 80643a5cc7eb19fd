"""Where a checkpoint lies, whether all of it is there, and reading a part of it."""

import hashlib
import json
import pickle
from pathlib import Path
from urllib.error import URLError

import torch
from huggingface_hub import constants, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
from safetensors import SafetensorError
from torch import nn
from transformers import PreTrainedTokenizerBase

from helpers.models.sets import Checkpoint

INCEPTION_URL = "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/"
INCEPTION = Checkpoint(
    "pytorch-fid Inception", INCEPTION_URL + "pt_inception-2015-12-05-6726825d.pth", "6726825d"
)
UNREADABLE = (OSError, ValueError, EOFError, pickle.UnpicklingError, SafetensorError)


class CheckpointMissing(OSError):
    """A checkpoint is absent, incomplete or damaged: which, where it was looked for, and the two ways out."""

    def __init__(self, checkpoint: Checkpoint, place: object, problem: object) -> None:
        if checkpoint.revision is None:
            source = checkpoint.source
            ways = ["either restore data/models (git checkout, or make demo-models)"]
            ways += ["or set GROUNDED_DATA to the folder that holds models/, or use MODELS=published"]
        else:
            source = f"{checkpoint.source} at {checkpoint.revision}"
            ways = [f"either download it:  {checkpoint.download_command}"]
            ways += ["or use the models that ship with this project:  MODELS=demo"]
        lines = [f"checkpoint {checkpoint.name!r} ({source}): {problem}", f"looked in {place}", *ways]
        super().__init__("\n".join(lines))


def locate(checkpoint: Checkpoint) -> tuple[Path, str | None]:
    """The folder of a checkpoint and, for one from the hub, the commit that lies in it.

    A whole copy on this machine is taken without asking the network; else it is downloaded.
    Raises CheckpointMissing, also for a copy of which a part is absent.
    """
    if checkpoint.revision is None:
        folder, place = Path(checkpoint.source), checkpoint.source
        if not folder.is_dir():
            raise CheckpointMissing(checkpoint, place, "no such folder")
    else:
        folder, place = _downloaded(checkpoint), f"{constants.HF_HUB_CACHE} and {constants.ENDPOINT}"
    if lacking := absent(folder):
        raise CheckpointMissing(checkpoint, place, f"incomplete, lacks {', '.join(lacking)}")
    return folder, None if checkpoint.revision is None else folder.name


def _downloaded(checkpoint: Checkpoint) -> Path:
    wanted = {"revision": checkpoint.revision, "allow_patterns": checkpoint.files}
    try:
        here = Path(snapshot_download(checkpoint.source, **wanted, local_files_only=True))
        if not absent(here):
            return here
    except LocalEntryNotFoundError:
        pass  # it was never downloaded
    try:
        return Path(snapshot_download(checkpoint.source, **wanted))
    except (LocalEntryNotFoundError, HfHubHTTPError) as error:
        place = f"{constants.HF_HUB_CACHE} and {constants.ENDPOINT}"
        raise CheckpointMissing(checkpoint, place, f"not here, and the hub says: {error}") from error


def absent(folder: Path) -> list[str]:
    """Names of what a model or pipeline folder lacks: configurations, parts, weights, shards of weights."""
    index = folder / "model_index.json"
    parts = [folder]
    if index.is_file():
        listed = json.loads(index.read_text())
        parts = [folder / name for name, kind in listed.items() if isinstance(kind, list) and kind[0]]
    elif not (folder / "config.json").is_file():
        return ["config.json or model_index.json"]
    # The safety checker is half of a download and off by default: its absence matters when it is asked for.
    return [lack for part in parts if part.name != "safety_checker" for lack in _absent_from(part)]


def _absent_from(part: Path) -> list[str]:
    if not part.is_dir():
        return [f"{part.name}/"]
    weights = {path.name for suffix in ("safetensors", "bin") for path in part.glob(f"*.{suffix}")}
    if (part / "config.json").is_file() and not weights:
        return [f"the weights of {part.name}"]
    lacking = set()
    for index in part.glob("*.index*.json"):
        shards = set(json.loads(index.read_text())["weight_map"].values())
        # An index of a format that was not downloaded shares no file with those that are here.
        lacking |= shards - weights if shards & weights else set()
    return sorted(f"{part.name}/{shard}" for shard in lacking)


def read(kind: type, checkpoint: Checkpoint, folder: Path, part: str = "") -> object:
    """A tokenizer, processor or scheduler of that class. Raises CheckpointMissing."""
    try:
        made = kind.from_pretrained(folder / part, local_files_only=True)
    except UNREADABLE as error:
        raise CheckpointMissing(checkpoint, folder / part, f"cannot be read: {error}") from error
    words = getattr(made, "tokenizer", made)
    # Without its vocabulary a tokenizer loads all the same, with nothing but special tokens.
    if isinstance(words, PreTrainedTokenizerBase) and len(words) < 10:
        raise CheckpointMissing(checkpoint, folder / part, "no vocabulary of its tokenizer")
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

    Safetensors are read where there are any, else `.bin` files, as tensors only.
    Raises CheckpointMissing where files or weights are absent or damaged.
    """
    place = folder / part
    options |= {"dtype": dtype, "variant": checkpoint.variant, "local_files_only": True}
    options["use_safetensors"] = any(place.glob("*.safetensors"))
    try:
        model, info = kind.from_pretrained(place, output_loading_info=True, **options)
    except UNREADABLE as error:
        raise CheckpointMissing(checkpoint, place, f"cannot be read: {error}") from error
    if unset := sorted(info["missing_keys"]):
        named = ", ".join(unset[:3])
        raise CheckpointMissing(checkpoint, place, f"no weights for {named} ({len(unset)} in all)")
    return model.to(device).eval().requires_grad_(False)


def inception_weights(weights: str | Path | None = None) -> tuple[dict[str, torch.Tensor], str]:
    """The state of pytorch-fid's network and the first eight digits of its file's SHA-256.

    weights: a file; None takes pytorch-fid's own from torch.hub's cache, downloaded if need be and checked
    against the SHA-256 in its name. Raises CheckpointMissing.
    """
    own = Path(torch.hub.get_dir()) / "checkpoints" / Path(INCEPTION.source).name
    file = Path(weights) if weights else own
    if not weights and not own.is_file():
        own.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(INCEPTION.source, str(own), hash_prefix=INCEPTION.revision)
        except URLError as error:
            raise CheckpointMissing(INCEPTION, f"{own} and {INCEPTION.source}", error) from error
    if not file.is_file():
        raise CheckpointMissing(INCEPTION, file, "no such file")
    digest = hashlib.sha256(file.read_bytes()).hexdigest()[:8]
    if not weights and digest != INCEPTION.revision:
        raise CheckpointMissing(INCEPTION, file, f"damaged, its SHA-256 starts with {digest}; delete it")
    return torch.load(file, map_location="cpu", weights_only=True), digest
