"""The report's page on made-up photos: its size, how long it loads, and how long a sort takes.

    python -m tests.benchmarks.bench_report [SCENES ...]

Pictures are noise with the spectrum of photos, which compresses worse than photos do. Chromium is needed.
"""

import shutil
import sys
import tempfile
import time
from pathlib import Path
from unittest import mock

import nbformat
import numpy as np
from nbformat.v4 import new_code_cell, new_notebook, new_output
from PIL import Image
from playwright.sync_api import sync_playwright

from helpers.report import gallery
from helpers.report.page import render
from helpers.runs import run as runs
from helpers.runs.run import Run
from helpers.scenes import images
from tests.fakes.study import write_scenes

ARMS = {f"suffix-{kind}-g7.5": kind for kind in ("none", "text", "image")}
SIDE = 512


def photo(random: np.random.Generator) -> Image.Image:
    """Noise whose amplitude falls with its frequency, as in photos."""
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(SIDE), np.fft.fftfreq(SIDE)))
    frequency[0, 0] = 1
    shared, own = random.normal(size=(1, SIDE, SIDE)), random.normal(size=(3, SIDE, SIDE))
    values = np.fft.ifft2(np.fft.fft2(shared + 0.3 * own) / frequency**1.4).real
    values = 50 * (values - values.mean()) / values.std() + 128
    return Image.fromarray(np.moveaxis(values.clip(0, 255).astype(np.uint8), 0, -1))


def write_page(folder: Path, scenes: int) -> Path:
    """A report of so many scenes: the list of all, and the eight that stand before it."""
    random = np.random.default_rng(0)
    with mock.patch.object(runs, "machine", lambda: {"device": "toaster", "versions": {}}):
        dataset = str(write_scenes(folder / "photos", scenes, 64))
        for path in (folder / "photos").glob("*.png"):
            photo(random).save(path)  # sharper than annotated, as resized copies may be
        run = Run.open(folder / "run", dataset=dataset, models="demo", size=SIDE, fit="squash", steps=50)
    for arm in ARMS:
        for scene in run.scenes:
            images.save(photo(random), run.picture(arm, scene), {"prompt": "p", "seed": "0", "steps": "50"})
    for arm in ("photos", *ARMS):
        rows = [
            {"scene": scene.name, "box": box, "label": label, "found": bool(random.random() < 0.7)}
            | {"iou": 0.6, "crop_correct": True}
            for scene in run.scenes
            for box, label in enumerate(scene.labels)
        ]
        run.write_jsonl(f"boxes/{arm}.jsonl", rows)
    shown = gallery.compare(run, run.scenes[:8], ARMS, scored=True)
    every = gallery.compare(run, run.scenes, ARMS, scored=True, sortable=True)
    cells = [
        new_code_cell("", outputs=[new_output("display_data", one._repr_mimebundle_())])
        for one in (shown, gallery.folded(every, "All"))
    ]
    nbformat.write(new_notebook(cells=cells), folder / "report.ipynb")
    render(folder / "report.ipynb", folder / "report.html")
    return folder / "report.html"


def measure(page_file: Path) -> dict[str, float]:
    """Seconds to load the page and to sort it, and megabytes with whatever lies beside it."""
    files = [page_file, *page_file.parent.glob("report_pictures/*")]
    with sync_playwright() as playwright:
        chromium = shutil.which("chromium") or shutil.which("google-chrome")
        page = playwright.chromium.launch(executable_path=chromium).new_page()
        began = time.monotonic()
        page.goto(page_file.as_uri())
        loaded = time.monotonic() - began
        page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
        sort = page.evaluate(
            "() => { const began = performance.now(), knob = document.querySelector('[data-knob=order]');"
            "knob.value = 'spread'; knob.dispatchEvent(new Event('change')); document.body.offsetHeight;"
            "return (performance.now() - began) / 1000; }"
        )
    size = sum(path.stat().st_size for path in files) / 1e6
    return {"MB": size, "files": len(files), "load, s": loaded, "sort, s": sort}


def main(counts: list[int]) -> None:
    for count in counts or [48, 200]:
        with tempfile.TemporaryDirectory() as folder:
            result = measure(write_page(Path(folder), count))
        print(f"{count} scenes: " + ", ".join(f"{name} {value:.3g}" for name, value in result.items()))


if __name__ == "__main__":
    main([int(text) for text in sys.argv[1:]])
