"""The report's page: an executed notebook as one HTML file, in which every picture stands once."""

import base64
import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable
from html import escape
from pathlib import Path

from helpers.files import beside

TEMPLATE = Path(__file__).with_name("template")
PAGE_ONLY = (
    "application/vnd.grounded.page+html"  # no viewer of notebooks knows it, so that all show the picture
)
LARGEST = 30e6  # bytes of a page; above, its pictures lie in a folder beside it
PICTURE = re.compile(r'src="(data:image/(\w+);base64,([^"]+))"')
APART = {"head", "nav", "aside", "h1", "h2", "h3", "a", "dl", "summary", "script", "svg", "select", "th"}


class Visual:
    """HTML for the report's page and, for notebooks, whose viewers strip SVG and scripts, a picture of it.

    data: the HTML. text: what is shown, in words. picture: makes (media type, file), or None where the page
    alone shows it.
    """

    def __init__(self, data: str, text: str, picture: Callable[[], tuple[str, bytes]] | None = None) -> None:
        self.data, self.text, self.picture = data, text, picture

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        bundle = {PAGE_ONLY: self.data, "text/plain": self.text}
        if self.picture is None:
            return bundle
        kind, file = self.picture()
        return bundle | {kind: base64.b64encode(file).decode()}


def render(notebook: Path, page: Path, largest: float = LARGEST) -> Path | None:
    """An executed notebook as one HTML file that needs no other: no code, nothing fetched, light and dark.

    Returns the folder beside it that holds the pictures of a page over `largest` bytes, else None.
    """
    import nbformat  # here, because notebooks that show tables wait for no exporter
    from nbconvert import HTMLExporter
    from traitlets.config import Config

    remove = {
        "enabled": True,
        "remove_cell_tags": ["remove-cell"],
        "remove_input_tags": [],
        "remove_all_outputs_tags": [],
    }
    exporter = HTMLExporter(
        template_name="grounded",
        extra_template_basedirs=[str(TEMPLATE)],
        exclude_input=True,
        exclude_output_prompt=True,
        exclude_anchor_links=True,
        config=Config({"TagRemovePreprocessor": remove}),
    )
    book = nbformat.read(notebook, as_version=4)
    for output in (one for cell in book.cells for one in cell.get("outputs", ())):
        if PAGE_ONLY in output.get("data", {}):
            output.data = {"text/html": output.data[PAGE_ONLY]}
    terms = {term_id(term): (term, meaning) for term, meaning in glossary().items()}
    text, _ = exporter.from_notebook_node(book, {"metadata": {"name": page.stem}, "terms": terms})
    text, folder = once(link_terms(text, glossary())), None
    if len(text) > largest:
        folder = page.with_name(f"{page.stem}_pictures")
        text = apart(text, folder)
    with beside(page) as partial:
        partial.write_text(text, encoding="utf-8")
    return folder


def glossary() -> dict[str, str]:
    """Term -> what it means."""
    return json.loads((TEMPLATE / "glossary.json").read_text(encoding="utf-8"))


def once(text: str) -> str:
    """The page with each picture embedded once: where it stands again, the page's script takes the first."""
    uses = Counter(found[1] for found in PICTURE.finditer(text))
    numbers = {address: number for number, (address, count) in enumerate(uses.items()) if count > 1}
    seen: set[str] = set()

    def replaced(found: re.Match) -> str:
        address = found[1]
        if address in seen:
            return f'data-same="{numbers[address]}"'
        if address in numbers:
            seen.add(address)
            return f'data-picture="{numbers[address]}" {found[0]}'
        return found[0]

    return PICTURE.sub(replaced, text)


def apart(text: str, folder: Path) -> str:
    """The page with its pictures as files of that folder, beside it."""
    folder.mkdir(parents=True, exist_ok=True)

    def replaced(found: re.Match) -> str:
        file = base64.b64decode(found[3])
        path = folder / f"{hashlib.sha256(file).hexdigest()[:16]}.{found[2]}"
        with beside(path) as partial:
            partial.write_bytes(file)
        return f'src="{folder.name}/{path.name}"'

    text = text.replace("img-src data:", "img-src data: 'self' file:", 1)
    note = f'<p class="note">The pictures of this page lie in the folder {escape(folder.name)} beside it.</p>'
    return PICTURE.sub(replaced, text).replace("<main>", f"<main>{note}", 1)


def link_terms(text: str, terms: dict[str, str]) -> str:
    """The page with each term linked to the glossary where its running text first uses it."""
    left = {term: re.compile(rf"(?<![\w-]){re.escape(term)}(?![\w-])") for term in terms}
    parts, inside = re.split(r"(<[^>]*>)", text), []
    for place, part in enumerate(parts):
        if tag := re.match(r"<(/?)(\w+)", part):
            if tag[2] in APART:
                inside = inside[:-1] if tag[1] else [*inside, tag[2]]
        elif not inside:
            links = []
            for term in [term for term, pattern in left.items() if pattern.search(part)]:
                links.append(
                    f'<a class="term" href="#{term_id(term)}" title="{escape(terms[term])}">{term}</a>'
                )
                part = left.pop(term).sub(f"\0{len(links) - 1}\0", part, count=1)
            parts[place] = re.sub("\0(\\d+)\0", lambda found, links=links: links[int(found[1])], part)
    return "".join(parts)


def term_id(term: str) -> str:
    """The id of a term's entry in the glossary."""
    return "term-" + re.sub(r"\W+", "-", term)
