"""The chat template: contents stay out of it, and what it refuses is said clearly."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from orion.errors import AgentLoadError, InvalidQueryError
from orion.runtime.chat_template import MAX_TEMPLATE_CHARS, ChatTemplate, Segment, merge_system
from orion.types import Message, Role
from tests.unit.prompt_support import NO_SYSTEM, SMOLLM


def chat(*pairs: tuple[str, str]) -> list[Message]:
    return [Message(role=Role(role), content=content) for role, content in pairs]


def text_of(segments: list[Segment]) -> str:
    return "".join(segment.text for segment in segments)


class TestSegments:
    def test_rendered_text_is_that_of_the_template_itself(self):
        """Joined, the segments are what the template would have written."""
        segments = ChatTemplate(SMOLLM).segments(chat(("user", "hi")))

        assert text_of(segments) == (
            "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by "
            "Hugging Face<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
        )

    def test_contents_are_marked_as_such(self):
        """Only what people wrote is content."""
        segments = ChatTemplate(SMOLLM).segments(chat(("system", "S"), ("user", "U")))

        assert [segment.text for segment in segments if segment.is_content] == ["S", "U"]

    def test_template_syntax_in_a_message_is_only_text(self):
        """A message that looks like Jinja is delivered, not run."""
        attack = "{{ raise_exception('x') }}{% for a in b %}"

        segments = ChatTemplate(SMOLLM).segments(chat(("user", attack)))

        assert Segment(attack, is_content=True) in segments

    def test_trimming_in_the_template_does_not_touch_contents(self):
        """A `trim` filter sees the mark, not the message."""
        segments = ChatTemplate(NO_SYSTEM, bos_token="<bos>").segments(chat(("user", "  a \n")))

        assert Segment("  a \n", is_content=True) in segments

    def test_empty_content_leaves_no_segment(self):
        """Nothing is encoded for nothing."""
        segments = ChatTemplate(SMOLLM).segments(chat(("user", "")))

        assert all(segment.text for segment in segments)
        assert not any(segment.is_content for segment in segments)

    def test_without_generation_prompt_the_answer_is_not_begun(self):
        """The last segment closes the last turn."""
        segments = ChatTemplate(SMOLLM).segments(chat(("user", "hi")), add_generation_prompt=False)

        assert text_of(segments).endswith("hi<|im_end|>\n")

    def test_a_template_may_write_a_message_twice(self):
        """Each place counts as content."""
        source = "{% for m in messages %}{{ m['content'] }}|{{ m['content'] }}{% endfor %}"

        segments = ChatTemplate(source).segments(chat(("user", "a")))

        assert [s.text for s in segments] == ["a", "|", "a"]


class TestSystemMessage:
    def test_a_refused_system_text_goes_in_front_of_the_first_user_message(self):
        """It is delivered as part of that content."""
        template = ChatTemplate(NO_SYSTEM, bos_token="<bos>")

        segments = template.segments(chat(("system", "Be brief."), ("user", "hi")))

        assert not template.accepts_system
        assert [s.text for s in segments if s.is_content] == ["Be brief.\n\nhi"]

    def test_a_template_that_drops_the_system_text_counts_as_refusing(self):
        """Silence about a system message is a refusal."""
        source = (
            "{% for m in messages %}{% if m['role'] != 'system' %}{{ m['content'] }}{% endif %}"
            "{% endfor %}"
        )

        template = ChatTemplate(source)

        assert not template.accepts_system

    def test_a_lone_system_message_becomes_a_user_message(self):
        """Nothing said is lost."""
        merged = merge_system(chat(("system", "S"), ("assistant", "A")))

        assert merged == chat(("user", "S"), ("assistant", "A"))


class TestTemplateFunctions:
    def test_the_date_comes_from_the_clock_given(self):
        """`strftime_now` is injected."""
        template = ChatTemplate(
            "{{ strftime_now('%d %B %Y') }} {{ messages[0]['content'] }}",
            now=lambda: datetime(2031, 2, 3, tzinfo=UTC),
        )

        assert text_of(template.segments(chat(("user", "q")))) == "03 February 2031 q"

    def test_generation_tags_and_loop_controls_are_understood(self):
        """What transformers adds to Jinja is here too."""
        source = (
            "{% for m in messages %}{% generation %}{{ m['content'] }}{% endgeneration %}"
            "{% if loop.last %}{% break %}{% endif %}{% endfor %}{{ {'é': 1} | tojson }}"
        )

        assert text_of(ChatTemplate(source).segments(chat(("user", "q")))) == 'q{"é": 1}'


class TestRefusals:
    def test_a_template_that_is_no_jinja_is_refused_at_load(self):
        """It names the model."""
        with pytest.raises(AgentLoadError, match=r"tiny.*no valid Jinja"):
            ChatTemplate("{% for %}", model="tiny")

    def test_a_template_that_loses_the_message_is_refused_at_load(self):
        """A model that never sees the question is not served."""
        with pytest.raises(AgentLoadError, match="loses a message"):
            ChatTemplate("hello")

    def test_an_overlong_template_is_refused(self):
        """A template is not a place for megabytes."""
        with pytest.raises(AgentLoadError, match="longer than"):
            ChatTemplate("x" * (MAX_TEMPLATE_CHARS + 1))

    def test_a_template_cannot_reach_python(self):
        """The sandbox holds."""
        with pytest.raises(AgentLoadError):
            ChatTemplate("{{ ''.__class__.__mro__[1].__subclasses__() }}{{messages[0].content}}")

    def test_a_refused_order_of_roles_is_the_callers_error(self):
        """`raise_exception` of the template reaches the caller as its words."""
        source = (
            "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
            "{{ raise_exception('roles must alternate') }}{% endif %}{{ m['content'] }}{% endfor %}"
        )

        with pytest.raises(InvalidQueryError, match="roles must alternate"):
            ChatTemplate(source).segments(chat(("user", "a"), ("user", "b")))
