"""Phrases and the prompt that names them: which have a region of their own, where, and in what words."""

import re

from helpers.generation.requests import Request
from helpers.scenes.scenes import words


def has_region(request: Request, k: int) -> bool:
    """Whether phrase k has a target colour, or is a footnote: the prompt does not hold it."""
    return not isinstance(request.colours[k], str) or request.phrases[k] not in request.prompt


def say(colour: str, phrase: str) -> str:
    """The phrase with a colour word: "a truck" as "a green truck"."""
    found = re.match(r"((an?|the)\s+)?(.*)", phrase, re.IGNORECASE | re.DOTALL)
    article = re.sub("^an?", "an" if colour[0] in "aeio" else "a", found[1] or "", flags=re.IGNORECASE)
    return f"{article}{colour} {found[3]}"


def spans(before: Request, spoken: Request) -> tuple[str, dict[tuple[int, int], list[int]]]:
    """The prompt, and the span of letters that names each phrase with a region -> indices of these phrases.

    The span holds the phrase, perhaps in the plural, or else the label; what the prompt does not name is
    appended to it. before: the request without colour words in its phrases.
    """
    prompt, found = before.prompt, {}
    for k, (phrase, label) in enumerate(zip(before.phrases, before.labels, strict=True)):
        if not has_region(before, k):
            continue
        bare = re.sub(r"^(an?|the)\s+", "", phrase, flags=re.IGNORECASE)
        tries = (
            re.search(rf"\b{re.escape(one)}(s|es)?\b", prompt, re.IGNORECASE) for one in (bare, words(label))
        )
        where = next(filter(None, tries), None)
        if where is None:
            prompt = f"{prompt}, {spoken.phrases[k]}"
        span = where.span() if where else (len(prompt) - len(spoken.phrases[k]), len(prompt))
        found.setdefault(span, []).append(k)
    return prompt, found
