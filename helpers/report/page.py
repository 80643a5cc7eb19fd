"""The report's page: an executed notebook as one HTML file, in which every picture stands once."""

import base64
import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from pathlib import Path

from helpers.files import beside, stamp
from helpers.report import languages

TEMPLATE = Path(__file__).with_name("template")
PAGE_ONLY = (
    "application/vnd.grounded.page+html"  # no viewer of notebooks knows it, so that all show the picture
)
LARGEST = 30e6  # bytes of a page; above, its pictures lie in a folder beside it
PICTURE = re.compile(r'src="(data:image/(\w+);base64,([^"]+))"')
APART = {"head", "nav", "aside", "h1", "h2", "h3", "a", "dl", "summary", "script", "svg", "select", "th"}


@dataclass(frozen=True)
class Visual:
    """HTML for the report's page and, for notebooks, whose viewers strip SVG and scripts, a picture of it.

    data: the HTML. text: what is shown, in words. picture: makes (media type, file), or None where the page
    alone shows it.
    """

    data: str
    text: str
    picture: Callable[[], tuple[str, bytes]] | None = None

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        bundle = {PAGE_ONLY: self.data, "text/plain": self.text}
        if self.picture is None:
            return bundle
        kind, file = self.picture()
        return bundle | {kind: base64.b64encode(file).decode()}


def refresh(notebook: Path, page: Path, language: str = "") -> Path | None:
    """Render a page that is older than its notebook, if there is one, or in another language; "" is the one
    that it has. Returns as `render`.
    """
    before = languages.of_page(page)
    if not notebook.is_file() or (stamp(page)[1] >= stamp(notebook)[1] and language in ("", before)):
        return None
    return render(notebook, page, language or before)


def render(notebook: Path, page: Path, language: str = languages.ENGLISH) -> Path | None:
    """An executed notebook as one HTML file that needs no other: no code, nothing fetched, light and dark.

    language: one of `languages.known`. Returns the folder beside it that holds the pictures of a page over
    LARGEST, else None.
    """
    import nbformat  # here, because notebooks that show tables wait for no exporter
    from nbconvert import HTMLExporter
    from traitlets.config import Config

    exporter = HTMLExporter(
        template_name="grounded",
        extra_template_basedirs=[str(TEMPLATE)],
        exclude_input=True,
        exclude_output_prompt=True,
        exclude_anchor_links=True,
        config=Config({"TagRemovePreprocessor": {"enabled": True, "remove_cell_tags": ["remove-cell"]}}),
    )
    book = nbformat.read(notebook, as_version=4)
    for output in (one for cell in book.cells for one in cell.get("outputs", ())):
        if PAGE_ONLY in output.get("data", {}):
            output.data = {"text/html": output.data[PAGE_ONLY]}
    translate = languages.translator(language)
    glossary = json.loads((TEMPLATE / "glossary.json").read_text(encoding="utf-8"))  # term -> its meaning
    terms = {translate(term): translate(meaning) for term, meaning in glossary.items()}
    resources = {"metadata": {"name": page.stem}, "terms": terms, "term_id": term_id}
    text, _ = exporter.from_notebook_node(book, resources)
    text, folder = once(text), None
    if len(text) > LARGEST:
        folder = page.with_name(f"{page.stem}_pictures")
        text = apart(text, folder)
    with beside(page) as partial:
        partial.write_text(link_terms(languages.translate_page(text, language), terms), encoding="utf-8")
    return folder


def once(text: str) -> str:
    """The page with each picture embedded once: where it stands again, the page's script takes the first."""
    seen: dict[str, int] = {}

    def replaced(found: re.Match) -> str:
        if found[1] in seen:
            return f'data-same="{seen[found[1]]}"'
        seen[found[1]] = len(seen)
        return f'data-picture="{seen[found[1]]}" {found[0]}'

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
    left = {term: re.compile(rf"(?<![A-Za-z0-9_-]){re.escape(term)}(?![A-Za-z0-9_-])") for term in terms}
    parts = re.split(r"(<[^>]*>)", text)
    for place in languages.outside(parts, lambda _, name: name in APART):
        links, part = [], parts[place]
        for term in [term for term, pattern in left.items() if part[:1] != "<" and pattern.search(part)]:
            links.append(f'<a class="term" href="#{term_id(term)}" title="{escape(terms[term])}">{term}</a>')
            part = left.pop(term).sub(f"\0{len(links) - 1}\0", part, count=1)
        parts[place] = re.sub("\0(\\d+)\0", lambda found, links=links: links[int(found[1])], part)
    return "".join(parts)


def term_id(term: str) -> str:
    """The id of a term's entry in the glossary."""
    return "term-" + re.sub(r"\W+", "-", term)
