"""The bench in a live JupyterLab: draw a box, draw a picture, see its marks."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from urllib.error import URLError

import nbformat
import pytest
from playwright.sync_api import expect, sync_playwright

from tests.fakes.study import write_models, write_scenes

ROOT = Path(__file__).resolve().parents[1]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PATIENCE = 240  # seconds: JupyterLab, a kernel and torch start on a busy machine
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: apt-get install chromium"),
]


def serve(folder: Path, environment: dict[str, str]) -> tuple[subprocess.Popen, str]:
    """A JupyterLab of its own settings on a free port of this machine: its process and its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {f"JUPYTER_{kind}_DIR": str(folder / kind) for kind in ("CONFIG", "DATA", "RUNTIME")}
    environment = os.environ | settings | {"PYTHONPATH": str(ROOT)} | environment
    command = [sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root", f"--port={port}"]
    command += [f"--ServerApp.root_dir={folder}", "--IdentityProvider.token=", "--ServerApp.port_retries=0"]
    server = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder
    )
    address, end = f"http://127.0.0.1:{port}", time.monotonic() + PATIENCE
    while time.monotonic() < end and server.poll() is None:
        try:
            urllib.request.urlopen(f"{address}/api").close()
            return server, address
        except URLError:
            time.sleep(0.5)
    server.kill()
    server.wait()
    raise RuntimeError("JupyterLab did not start")


@pytest.fixture
def bench(tmp_path):
    """A page of JupyterLab in which the bench is shown."""
    book = nbformat.read(ROOT / "notebooks" / "explore.ipynb", as_version=4)
    for cell in book.cells:
        if "parameters" in cell.metadata.get("tags", ()):
            cell.source = f'dataset = "{write_scenes(tmp_path / "photos")}"\nmodels = "demo"'
    nbformat.write(book, tmp_path / "explore.ipynb")
    server, address = serve(tmp_path, {"GROUNDED_DATA": str(write_models(tmp_path / "data"))})
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM)
            page = browser.new_page(viewport={"width": 1500, "height": 1900})
            page.set_default_timeout(PATIENCE * 1000)
            expect.set_options(timeout=PATIENCE * 1000)
            page.goto(f"{address}/lab/tree/explore.ipynb")
            page.locator(".jp-Notebook").wait_for()
            page.wait_for_timeout(3000)  # menus are filled after the notebook is shown
            page.get_by_role("menuitem", name="Run").first.click()
            page.get_by_text("Run All Cells", exact=True).click()
            page.get_by_role("button", name="draw", exact=True).wait_for()
            yield page
            browser.close()
    finally:
        server.terminate()
        server.wait(30)


def test_a_box_is_drawn_then_a_picture_with_its_marks(bench):
    photo = bench.locator(".jp-OutputArea-output img, .jp-OutputArea-output canvas").first
    photo.wait_for()
    photo.scroll_into_view_if_needed()
    place = photo.bounding_box()
    bench.mouse.move(place["x"] + 0.02 * place["width"], place["y"] + 0.8 * place["height"])
    bench.mouse.down()
    bench.mouse.move(place["x"] + 0.3 * place["width"], place["y"] + 0.97 * place["height"], steps=8)
    bench.mouse.up()
    bench.get_by_role("button", name="draw", exact=True).click()
    figure = bench.locator(".jp-OutputArea-output figure").first
    expect(figure).to_contain_text("of 3 boxes found")
    assert figure.locator("svg:not(.detected) rect").count() == 3
    assert figure.locator("title").all_inner_texts() or figure.locator("svg").count() == 1
