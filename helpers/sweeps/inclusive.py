"""The command that learns inclusive tokens."""

import argparse
from collections.abc import Callable
from functools import partial

from helpers.captioning import attributes
from helpers.parameters import ParameterError
from helpers.sweeps.settings import open_run


def tokens(options: argparse.Namespace) -> Callable[[], None]:
    """Inclusive tokens, learnt before the lines about them are given, and what draws with them."""
    from helpers.generation.tokens import learn  # here, for it waits for torch

    if not (name := options.attribute):
        raise ParameterError("attribute: name a field of annotations.json, or give photos, too, and any name")
    run = open_run(options)
    about = learn(run, name, options.photos or "")
    lines = [f"{', '.join(about['tokens'])}: {about['seconds']} s of training, in {run.folder / 'tokens'}"]
    lines += [f"  CLIP names {about['right']:.2f} of the reference photos rightly"]
    lines += [f"  grounded sweep --run {run.folder} --template {' '.join(attributes.templates(name))}"]
    return partial(print, *lines, sep="\n")
