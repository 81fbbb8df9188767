"""Model and user text → Markdown that the chat shows whole: nothing eaten, nothing fetched.

The browser's Markdown would swallow `a<b and c>d` as a tag, load remote images and treat
`$$` of two shell blocks as one formula. Outside code, what would open a tag is escaped,
images become links, and formulas get delimiters no code contains; code stays as it is.
Linear in the length of the text; applied to the accumulated text of a stream.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import defaultdict
from itertools import groupby

INLINE_MATH = (r"\({}", r"{}\)")
DISPLAY_MATH = (r"\[{}", r"{}\]")
MATH_DELIMITERS = [
    {"left": DISPLAY_MATH[0], "right": DISPLAY_MATH[1], "display": True},
    {"left": INLINE_MATH[0], "right": INLINE_MATH[1], "display": False},
]
"""LaTeX that means the same as without the empty groups, so a copied formula stays valid."""

_FENCE = re.compile(
    r"(?P<prefix>[ \t]*(?:>[ \t]*|(?:[-*+]|\d{1,9}[.)])[ \t]+)*)(?P<mark>`{3,}|~{3,})(?P<info>.*)"
)
_LIST_ITEM = re.compile(r"[ \t]*(?:[-*+]|\d{1,9}[.)])[ \t]")
_INDENTED = re.compile(r"(?: {4}|\t)")
_SPECIAL = re.compile(r"[\\`$<!]")
_TICKS = re.compile(r"`+")
_OPENS_TAG = re.compile(r"<(?=[A-Za-z/!?])")
_LINK = re.compile(r"<https?://[^\s<>]{1,2000}>")
_TEXT_COMMAND = re.compile(r"\\(?:text|mathrm|operatorname)\{[^{}]*\}|\\[A-Za-z]+")
_WORD = re.compile(r"[^\W\d_]{3,}")


def shown(text: str) -> str:
    """`text` as Markdown source for the chat component."""
    whole = text.encode("utf-8", "replace").decode("utf-8").replace("\r\n", "\n")
    lines = whole.split("\n")
    marked = zip(_code_lines(lines), lines, strict=True)
    parts: list[str] = []
    for is_code, group in groupby(marked, key=lambda pair: pair[0]):
        block = [line for _, line in group]
        parts.extend(block if is_code else _prose(block))
    return "\n".join(parts)


def _code_lines(lines: list[str]) -> list[bool]:
    """For every line whether it belongs to a code block; fences may lose their language."""
    marks: list[bool] = []
    fence: str | None = None
    quoted = in_list = False
    blank = True  # the start of the text counts as a blank line
    for index, line in enumerate(lines):
        if fence is not None and quoted and not line.lstrip().startswith(">"):
            fence = None
        if fence is not None:
            marks.append(True)
            fence = None if _closes(line, fence) else fence
            blank = False
            continue
        opening = _FENCE.fullmatch(line)
        if opening and not (opening["mark"][0] == "`" and "`" in opening["info"]):
            fence = opening["mark"]
            quoted = ">" in opening["prefix"]
            # The page would draw mermaid, whose styles may fetch from other hosts.
            if opening["info"].strip().lower().startswith("mermaid"):
                lines[index] = opening["prefix"] + fence + "text"
            marks.append(True)
            continue
        indented = bool(_INDENTED.match(line)) and not in_list
        marks.append(indented and bool(line.strip()) and (blank or (bool(marks) and marks[-1])))
        if _LIST_ITEM.match(line):
            in_list = True
        elif blank and line.strip() and not line[0].isspace():
            in_list = False
        blank = not line.strip()
    return marks


def _closes(line: str, fence: str) -> bool:
    bare = line.lstrip(" \t>").rstrip()
    return len(bare) >= len(fence) and not bare.strip(fence[0])


def _prose(lines: list[str]) -> list[str]:
    """Lines outside code blocks, paragraph by paragraph: code spans end with theirs."""
    done: list[str] = []
    for blank, group in groupby(lines, key=lambda line: not line.strip()):
        block = list(group)
        done.extend(block if blank else [_paragraph("\n".join(block))])
    return done


def _paragraph(text: str) -> str:
    parts: list[str] = []
    ticks = _tick_runs(text)
    dead: set[str] = set()  # closers of which the rest of the paragraph has none
    at = 0
    while found := _SPECIAL.search(text, at):
        start = found.start()
        parts.append(text[at:start])
        piece, at = _special(text, start, ticks, dead)
        parts.append(piece)
    parts.append(text[at:])
    return "".join(parts)


def _special(text: str, start: int, ticks: dict[int, list[int]], dead: set[str]) -> tuple[str, int]:
    """What stands for the special character at `start`, and where to go on."""
    match text[start]:
        case "`":
            end = _span_end(text, start, ticks)
            return text[start:end], end
        case "\\":
            return _backslash(text, start, dead)
        case "$":
            return _dollars(text, start, dead)
        case "<":
            return _angle(text, start)
        case _:
            return ("\\!" if text.startswith("![", start) else "!"), start + 1


def _angle(text: str, start: int) -> tuple[str, int]:
    if link := _LINK.match(text, start):
        return link[0], link.end()
    return ("\\<" if _OPENS_TAG.match(text, start) else "<"), start + 1


def _tick_runs(text: str) -> dict[int, list[int]]:
    runs: dict[int, list[int]] = defaultdict(list)
    for run in _TICKS.finditer(text):
        runs[len(run[0])].append(run.start())
    return runs


def _span_end(text: str, start: int, ticks: dict[int, list[int]]) -> int:
    """The end of the code span that opens at `start`, or of its backticks alone."""
    run = _TICKS.match(text, start)
    assert run is not None
    width = run.end() - start
    same = ticks.get(width, [])
    following = bisect_right(same, start)
    return same[following] + width if following < len(same) else run.end()


def _backslash(text: str, start: int, dead: set[str]) -> tuple[str, int]:
    if not text.startswith(("\\(", "\\["), start):
        return text[start : start + 2], start + 2
    closer = "\\)" if text[start + 1] == "(" else "\\]"
    end = -1 if closer in dead else text.find(closer, start + 2)
    if end < 0:
        dead.add(closer)
        return text[start : start + 2], start + 2
    return _formula(text[start + 2 : end], display=closer == "\\]"), end + 2


def _dollars(text: str, start: int, dead: set[str]) -> tuple[str, int]:
    if text.startswith("$$", start):
        end = -1 if "$$" in dead else text.find("$$", start + 2)
        if end < 0 or not text[start + 2 : end].strip():
            dead.add("$$")
            return "$$", start + 2
        return _formula(text[start + 2 : end], display=True), end + 2
    end = -1 if "$" in dead else text.find("$", start + 1)
    if end < 0:
        dead.add("$")
    elif _is_formula(text, start, end):
        return _formula(text[start + 1 : end], display=False), end + 1
    return "$", start + 1


def _is_formula(text: str, start: int, end: int) -> bool:
    """Whether `$…$` is a formula and not two prices or two shell variables."""
    content = text[start + 1 : end]
    if not content or content[0].isspace() or content[-1].isspace() or content[-1] == "\\":
        return False
    if text[start - 1 : start].isalnum() or text[end + 1 : end + 2].isalnum():
        return False
    return "`" not in content and not _WORD.search(_TEXT_COMMAND.sub("", content))


def _formula(content: str, *, display: bool) -> str:
    left, right = DISPLAY_MATH if display else INLINE_MATH
    return f"{left}{content}{right}"
