"""A finished picture with its record, and the PNG that holds both."""

import json
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from helpers.captioning.prompts import truncate
from helpers.generation.requests import Request, entries
from helpers.runs.methods import GROUNDED, KNOBS, METHODS
from helpers.scenes import images

INPUTS = {"boxes", "phrases", "crops", "photo", "knobs"}  # fields of a request; the others are settings
WRITERS = 2  # threads
WITHHELD = (128, 128, 128)  # colour of the file that stands for a flagged picture


@dataclass(frozen=True, eq=False)
class Picture:
    """A request and its picture. image: None where the safety checker flagged it.

    record: all settings, the boxes used and dropped, the texts that were cut, and if flagged; ready for JSON.
    """

    request: Request
    image: Image.Image | None
    record: dict


def record(request: Request, tokenizer, **more: object) -> dict:
    """Settings that its method has, boxes used and dropped, and texts that were cut, of one picture; more:
    further settings.

    tokenizer: of the text encoder, None where there is none."""
    used = entries(request)
    texts = dict.fromkeys([request.prompt, request.negative_prompt, *used.phrases]) if tokenizer else ()
    absent = {*GROUNDED, *KNOBS} - {*METHODS[request.grounding].knobs}
    told = {
        **{key: value for key, value in vars(request).items() if key not in INPUTS},
        **request.knobs,
        **used.facts,
        "cut_texts": [text for text in texts if truncate(text, tokenizer)[2]],
        **more,
    }
    return {key: value for key, value in told.items() if key not in absent}


def write(pictures: Iterable[Picture], path_of: Callable[[Request], Path]) -> list[dict]:
    """Save pictures as PNGs, by threads, while the next ones are made; returns their records, in order.

    path_of: where the picture of a request shall lie. The file of a flagged picture is plain grey, so that it
    is not made again, and says "flagged": "true".
    When interrupted, every finished picture is on disk, whole. Raises OSError if one cannot be saved.
    """
    records, pending = [], deque()
    with ThreadPoolExecutor(WRITERS) as pool:
        for picture in pictures:
            records.append(picture.record)
            pending.append(pool.submit(_save, picture, path_of(picture.request)))
            while pending and (pending[0].done() or len(pending) > 8 * WRITERS):
                pending.popleft().result()
        for one in pending:
            one.result()
    return records


def _save(picture: Picture, path: Path) -> None:
    record = picture.record
    chunks = {key: value if isinstance(value, str) else json.dumps(value) for key, value in record.items()}
    blank = Image.new("RGB", (record["width"], record["height"]), WITHHELD)
    images.save(picture.image or blank, path, chunks)
