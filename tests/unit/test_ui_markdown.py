"""What people and models write reaches the page whole."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orion.ui.markdown import shown

REPEATED = (
    *("\\(", "\\[", "$", "$$ ", "$a ", "` ", "`` ` ", "<a", "!["),
    *("> ", "- ", "1. ", " ", "\n"),
)


class TestShown:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("a<b and c>d", "a\\<b and c>d"),
            ("x < y and y > z", "x < y and y > z"),
            ("<script>alert(1)</script>", "\\<script>alert(1)\\</script>"),
            ("<!-- gone? -->", "\\<!-- gone? -->"),
            ("already \\<b>", "already \\<b>"),
            ("![leak](https://example.org/?q=1)", "\\![leak](https://example.org/?q=1)"),
            ("see <https://example.org/a>", "see <https://example.org/a>"),
        ],
    )
    def test_nothing_opens_a_tag_or_fetches_an_image(self, text: str, expected: str) -> None:
        """Tags are escaped, images become links, comparisons and links stay."""
        assert shown(text) == expected

    @pytest.mark.parametrize(
        "code",
        [
            "```html\n<div>$x$</div>\n```",
            "~~~\n<b>\n~~~",
            "`<b>` and `` `<i>` ``",
            "text\n\n    <b>\n    <i>\n\ntext",
            "> ```\n> <b>\n> ```",
            "- item\n  ```c\n  #include <stdio.h>\n  ```",
            "```bash\necho $$ <x>\n",
        ],
    )
    def test_code_stays_as_it_is(self, code: str) -> None:
        """Fences, spans, indented blocks, and a fence that is still being streamed."""
        assert shown(code) == code

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("$x^2$", "\\({}x^2{}\\)"),
            ("\\(a<b\\)", "\\({}a<b{}\\)"),
            ("$$\na\n$$", "\\[{}\na\n{}\\]"),
            ("\\[a\\]", "\\[{}a{}\\]"),
            ("$\\text{if } x$", "\\({}\\text{if } x{}\\)"),
        ],
    )
    def test_formulas_get_the_page_s_delimiters(self, text: str, expected: str) -> None:
        """Every usual way to write one."""
        assert shown(text) == expected

    @pytest.mark.parametrize(
        "text",
        [
            "It costs $5 and $10.",
            "between $5 and 10$.",
            "$HOME/$PATH",
            "a $ b $ c",
            "open $$ only",
            "US$20,000 and US$30,000",
        ],
    )
    def test_money_and_variables_are_no_formulas(self, text: str) -> None:
        """Dollars that mean dollars stay."""
        assert shown(text) == text

    def test_a_fence_in_a_quote_ends_with_the_quote(self) -> None:
        """Else what follows would pass as code."""
        assert shown("> ```\n> <b>\n<i>") == "> ```\n> <b>\n\\<i>"

    def test_a_diagram_is_shown_as_its_source(self) -> None:
        """Drawing it could fetch what its styles name."""
        assert shown("```mermaid\ngraph\n```") == "```text\ngraph\n```"

    def test_half_a_character_does_not_break_the_answer(self) -> None:
        """A lone surrogate cannot be sent as JSON."""
        assert shown("a\ud800b") == "a?b"

    @given(st.text(alphabet="ab <>`$\\!()[]{}\n~-1.\t", max_size=60))
    def test_only_marks_are_added(self, text: str) -> None:
        """Without escapes and formula marks the text is the one given."""
        marks = ("\\({}", "{}\\)", "\\[{}", "{}\\]")
        bare, given_bare = shown(text), text
        for mark in (*marks, "\\(", "\\)", "\\[", "\\]", "$", "\\", "{}"):
            bare, given_bare = bare.replace(mark, ""), given_bare.replace(mark, "")

        assert bare == given_bare

    @given(st.text(alphabet="ab <>/!?script\n", max_size=60))
    def test_no_tag_is_left_outside_code(self, text: str) -> None:
        """Every `<` that could open one has its backslash."""
        result = shown(text)
        for line in result.split("\n"):
            if line.startswith(("    ", "\t")):
                continue
            for at, char in enumerate(line):
                opens = line[at + 1 : at + 2]
                if char == "<" and (opens.isalpha() or opens in tuple("/!?")):
                    assert line[at - 1] == "\\"

    @pytest.mark.parametrize("unit", REPEATED)
    def test_hostile_repetition_stays_linear(self, unit: str) -> None:
        """60,000 characters of any mark take far below a second."""
        text = unit * (60_000 // len(unit))
        began_s = time.perf_counter()

        shown(text)

        assert time.perf_counter() - began_s < 0.6
