"""Checkpoints on this machine: where they lie, what is missing, and the command that mends it. No torch."""

import hashlib
import os
import shlex
import shutil
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from huggingface_hub import constants, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

from helpers.models.contents import examine
from helpers.models.sets import Checkpoint, ModelSet

INCEPTION_FILE = "pt_inception-2015-12-05-6726825d.pth"
INCEPTION_URL = "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/"
INCEPTION = Checkpoint(
    "pytorch-fid Inception",
    INCEPTION_URL + INCEPTION_FILE,
    "6726825d",
    size=95_600_000,
    parameters=23_900_000,
)
DEMO = "or use the models that ship with this project:  MODELS=demo"
RESTORE = (
    "either restore data/models (git checkout, or make demo-models)",
    "or set GROUNDED_DATA to the folder that holds models/, or use MODELS=published",
)


@dataclass(frozen=True)
class Missing:
    """A checkpoint that is absent, incomplete or damaged.

    place: where it was looked for; problem: what is wrong with it there; absent, damaged: files to download
    and to replace, as paths in the repository; neither where nothing is known of single files.
    """

    checkpoint: Checkpoint
    place: str
    problem: str
    absent: tuple[str, ...] = ()
    damaged: tuple[str, ...] = ()

    @property
    def command(self) -> str | None:
        """The command that downloads it, also over damaged files, or that makes it; None for another local
        folder."""
        one = self.checkpoint
        if one.revision is None:
            return one.converter or None
        if one is INCEPTION:
            return shlex.join(["curl", "-L", "--create-dirs", "-o", str(inception_file()), one.source])
        words = [_hf(), "download", one.source]
        replace = [*words, *self.damaged, "--revision", one.revision, "--force-download"]
        words += ["--revision", one.revision]
        words += [word for pattern in one.files for word in ("--include", pattern)]
        words += [word for pattern in one.other_files for word in ("--exclude", pattern)]
        commands = [replace] * bool(self.damaged) + [words] * bool(self.absent or not self.damaged)
        return " && ".join(map(shlex.join, commands))

    def __str__(self) -> str:
        one = self.checkpoint
        source = one.source if one.revision is None else f"{one.source} at {one.revision}"
        lines = [f"checkpoint {one.name!r} ({source}): {self.problem}", f"looked in {self.place}", one.terms]
        return "\n".join(filter(None, lines))


class CheckpointMissing(OSError):
    """A checkpoint that is absent, incomplete or damaged, with its place, and the ways out."""

    def __init__(self, missing: Missing) -> None:
        ways = RESTORE
        if missing.command:
            ways = f"either download ({_size(missing)}):  {missing.command}", DEMO
        super().__init__("\n".join([str(missing), *ways]))


def locate(checkpoint: Checkpoint) -> tuple[Path, str | None]:
    """The folder of a checkpoint and, for one from the hub, the commit that lies in it.

    A whole copy on this machine is taken without asking the network; else it is downloaded.
    Raises CheckpointMissing, also for a copy of which a part is absent or damaged.
    """
    folder, missing = find(checkpoint)
    if missing and checkpoint.revision and not missing.damaged and not constants.HF_HUB_OFFLINE:
        try:
            folder, missing = _examined(checkpoint, Path(snapshot_download(**_wanted(checkpoint))))
        except (LocalEntryNotFoundError, HfHubHTTPError) as error:
            place = f"{constants.HF_HUB_CACHE} and {constants.ENDPOINT}"
            problem = f"not here, and the hub says: {error}"
            raise CheckpointMissing(Missing(checkpoint, place, problem)) from error
    if missing:
        raise CheckpointMissing(missing)
    return folder, None if checkpoint.revision is None else folder.name


def find(checkpoint: Checkpoint) -> tuple[Path, Missing | None]:
    """Where a checkpoint lies or would lie, and what is missing of it, if anything; asks no network."""
    if checkpoint is INCEPTION:
        file = inception_file()
        if not file.is_file():
            return file, Missing(INCEPTION, str(file), "not downloaded yet")
        digest = hashlib.sha256(file.read_bytes()).hexdigest()[:8]
        problem = f"damaged, its SHA-256 starts with {digest}"
        return file, None if digest == INCEPTION.revision else Missing(INCEPTION, str(file), problem)
    if checkpoint.revision is None:
        return _examined(checkpoint, Path(checkpoint.source))
    try:
        folder = Path(snapshot_download(**_wanted(checkpoint), local_files_only=True))
    except LocalEntryNotFoundError:
        mirror = replace(checkpoint, source=checkpoint.mirror, mirror="")
        if checkpoint.mirror and not (there := find(mirror))[1]:
            return there
        cache = constants.HF_HUB_CACHE
        return Path(cache), Missing(checkpoint, cache, "not downloaded yet, or not to its end")
    return _examined(checkpoint, folder)


def missing(models: ModelSet, safety: bool = False) -> list[Missing]:
    """The checkpoints that a study with this model set needs and this machine does not hold, in the order of
    a study. Asks no network and reads no weights, but for Inception's checksum. safety: with its checker."""
    return [lack for one in _needed(models, safety) if (lack := find(one)[1])]


def fetch(models: ModelSet, safety: bool = False) -> None:
    """Download what is missing of a model set, going on where a download was stopped, and print what is
    where. Raises CheckpointMissing for what cannot be had."""
    needed, lacking = _needed(models, safety), missing(models, safety)
    count = f"{len(lacking)} of {len(needed)} checkpoints to download, {_size(*lacking)}"
    print(count if lacking else f"nothing to download, all {len(needed)} checkpoints are here")
    for one in lacking:
        print("; ".join(filter(None, [f"  {one.checkpoint.name} ...", one.checkpoint.terms])))
        if one.checkpoint is INCEPTION:
            import torch  # here, because locating should not wait for it

            inception_file().parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(INCEPTION.source, str(inception_file()), INCEPTION.revision)
            continue
        if one.damaged:
            wanted = _wanted(one.checkpoint) | {"allow_patterns": list(one.damaged)}
            snapshot_download(**wanted, force_download=True)
        locate(one.checkpoint)
    for one in needed:
        print(f"  {one.name}: {find(one)[0]}")


def inception_file() -> Path:
    """Where pytorch-fid's weights lie or will lie: torch.hub's own folder for checkpoints."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = os.environ.get("TORCH_HOME") or os.path.join(cache, "torch")
    return Path(home).expanduser() / "hub" / "checkpoints" / INCEPTION_FILE


def _needed(models: ModelSet, safety: bool) -> list[Checkpoint]:
    return [*models.checkpoints(safety), *([INCEPTION] if models.inception else [])]


def _wanted(checkpoint: Checkpoint) -> dict[str, object]:
    patterns = {"allow_patterns": checkpoint.files, "ignore_patterns": checkpoint.other_files}
    return {"repo_id": checkpoint.source, "revision": checkpoint.revision, **patterns}


def _examined(checkpoint: Checkpoint, folder: Path) -> tuple[Path, Missing | None]:
    if not folder.is_dir():
        return folder, Missing(checkpoint, str(folder), "no such folder")
    absent, damaged = examine(folder, checkpoint)
    facts = [f"incomplete, lacks {', '.join(absent)}"] * bool(absent)
    facts += [f"damaged: {', '.join(damaged)}"] * bool(damaged)
    found = Missing(checkpoint, str(folder), "; ".join(facts), tuple(absent), tuple(damaged))
    return folder, found if facts else None


def _hf() -> str:
    """The hub's own command: on the path, or beside this Python."""
    beside = Path(sys.executable).with_name("hf")
    return "hf" if shutil.which("hf") or not beside.is_file() else str(beside)


def _size(*missing: Missing) -> str:
    total = sum(one.checkpoint.size for one in missing)
    return f"{total / 1e9:.1f} GB" if total else "size unknown"
