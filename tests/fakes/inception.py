"""pytorch-fid's Inception with random weights, in the file that the library would download."""

from pathlib import Path
from unittest.mock import patch

import torch
from pytorch_fid import inception


def write_inception(file: Path) -> Path:
    nothing = {"load_state_dict_from_url": lambda *_, **__: {}}
    with patch.multiple(inception, **nothing), patch.object(torch.nn.Module, "load_state_dict"):
        network = inception.fid_inception_v3()
    torch.save(network.state_dict(), file)
    return file
