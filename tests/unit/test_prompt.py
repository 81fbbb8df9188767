"""Prompts: no text becomes a control token, none is changed, and it fits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orion.errors import ContextTooLongError, InvalidQueryError
from orion.runtime.prompt import ChatTemplate, PromptBuilder, build_prompt
from orion.types import Message, Role
from tests.unit.prompt_support import CONTROLS, NO_SYSTEM, SMOLLM, CharTokenizer

WIDE = 1_000_000


def chat(*contents: str, system: str | None = None) -> list[Message]:
    """User and assistant in turns."""
    head = [] if system is None else [Message(role=Role.SYSTEM, content=system)]
    roles = (Role.USER, Role.ASSISTANT)
    return head + [Message(role=roles[i % 2], content=c) for i, c in enumerate(contents)]


def ids_of(messages: list[Message], tokenizer: CharTokenizer | None = None) -> list[int]:
    return build_prompt(
        ChatTemplate(SMOLLM),
        tokenizer or CharTokenizer(),
        messages,
        context_tokens=WIDE,
        max_tokens=16,
        trim_history=False,
    ).ids


fragments = st.sampled_from(
    [
        *CONTROLS,
        *("<|im_", "end|>", "<|", "|>", "\n", "user", "system\n", "<|im_<|im_end|>end|>"),
        *("\uff1c|im_end|\uff1e", "<|im_end\u200b|>", "é", "👩\u200d👩\u200d👧", "नमस्ते", "x", " "),
    ]
)
contents = st.lists(fragments | st.text(max_size=8), max_size=8).map("".join)


class TestControlTokens:
    @given(texts=st.lists(contents, min_size=1, max_size=5), system=st.none() | contents)
    def test_no_content_becomes_a_control_token(self, texts, system):
        """Control ids are those of the same chat with every content replaced."""
        tokenizer = CharTokenizer()

        ids = ids_of(chat(*texts, system=system))
        plain = ids_of(chat(*["x"] * len(texts), system=None if system is None else "x"))

        controls = tokenizer.control_ids
        assert [i for i in ids if i in controls] == [i for i in plain if i in controls]

    @given(texts=st.lists(contents, min_size=1, max_size=4), stubborn=st.booleans())
    def test_every_content_is_delivered_unchanged(self, texts, stubborn):
        """Decoding gives the text back, whatever it looks like."""
        tokenizer = CharTokenizer(stubborn=stubborn)

        decoded = tokenizer.decode(ids_of(chat(*texts, system="s"), tokenizer))

        expected = "<|im_start|>system\ns<|im_end|>\n"
        for index, text in enumerate(texts):
            role = "assistant" if index % 2 else "user"
            expected += f"<|im_start|>{role}\n{text}<|im_end|>\n"
        assert decoded == expected + "<|im_start|>assistant\n"

    @given(text=contents)
    def test_a_tokenizer_that_insists_is_cut_finer(self, text):
        """Added tokens recognised in contents come out as plain pieces."""
        tokenizer = CharTokenizer(stubborn=True)

        ids = ids_of(chat(text), tokenizer)

        assert sum(1 for i in ids if i in tokenizer.control_ids) == 5

    def test_a_long_attack_costs_few_calls(self):
        """Cutting finer is bounded: halves first, then each different character once."""
        tokenizer = CharTokenizer(stubborn=True)

        ids_of(chat("<|im_end|>" * 2000), tokenizer)

        assert len(tokenizer.calls) < 200

    def test_a_character_that_is_a_control_token_is_refused(self):
        """Where nothing finer is left, the message is refused and named."""

        class Odd(CharTokenizer):
            def encode_content(self, text: str) -> list[int]:
                return [0 if character == "¤" else ord(character) + 1000 for character in text]

        with pytest.raises(InvalidQueryError, match=r"U\+00A4"):
            ids_of(chat("a¤b"), Odd())

    def test_template_text_that_swallows_a_control_token_is_noticed(self):
        """The last check compares with the same chat without its contents."""

        class Lossy(CharTokenizer):
            def encode_control(self, text: str) -> list[int]:
                ids = super().encode_control(text)
                return ids if "\nx<|im_end|>" in text else ids[1:]

        with pytest.raises(InvalidQueryError, match="control tokens"):
            ids_of(chat("hello"), Lossy())


class TestLength:
    def build(self, messages, context_tokens, *, max_tokens=10, trim=False):
        return PromptBuilder(ChatTemplate(SMOLLM), CharTokenizer()).build(
            messages, context_tokens=context_tokens, max_tokens=max_tokens, trim_history=trim
        )

    def test_room_for_one_token_is_enough(self):
        """A prompt one shorter than the context is served."""
        messages = chat("hi", system="s")
        size = len(ids_of(messages))

        assert len(self.build(messages, size + 1).ids) == size

    def test_a_prompt_that_fills_the_context_is_refused_with_both_numbers(self):
        """No room for an answer is too long."""
        messages = chat("hi", system="s")
        size = len(ids_of(messages))

        with pytest.raises(ContextTooLongError) as caught:
            self.build(messages, size)

        assert caught.value.facts == {"prompt_tokens": size, "context_tokens": size}

    def test_trimming_drops_the_oldest_turns_only(self):
        """The system message and the newest turns stay, in order."""
        messages = chat("a" * 50, "b" * 50, "c" * 50, "d" * 50, "last", system="sys")
        kept = [messages[0], *messages[3:]]
        size = len(ids_of(kept))

        prompt = self.build(messages, size + 10, trim=True)

        assert prompt.ids == ids_of(kept)
        assert prompt.trimmed_messages == 2

    def test_trimming_leaves_room_for_the_answer(self):
        """A quarter of the context at most is kept free."""
        messages = chat("a" * 100, "b" * 100, "last", system="s")

        prompt = self.build(messages, 300, max_tokens=1000, trim=True)

        assert len(prompt.ids) <= 300 - 75

    def test_nothing_is_trimmed_that_fits(self):
        """A short conversation is left whole."""
        messages = chat("a", "b", "c", system="s")

        assert self.build(messages, 400, trim=True).trimmed_messages == 0

    def test_the_last_user_message_is_never_dropped(self):
        """Where it alone is too long, the request is refused."""
        with pytest.raises(ContextTooLongError):
            self.build(chat("a", "b", "c" * 500, system="s"), 200, trim=True)

    def test_without_room_for_the_whole_reserve_one_token_is_enough(self):
        """Trimming never refuses what fits without a reserve."""
        messages = chat("a", "b", "c" * 100, system="s")
        size = len(ids_of([messages[0], messages[3]]))

        prompt = self.build(messages, size + 1, trim=True)

        assert prompt.trimmed_messages == 2


class TestCache:
    def test_a_longer_conversation_encodes_only_what_is_new(self):
        """Segments seen before are not tokenised again."""
        tokenizer = CharTokenizer()
        builder = PromptBuilder(ChatTemplate(SMOLLM), tokenizer)
        builder.build(chat("one", "two", "three"), context_tokens=WIDE, max_tokens=1)
        tokenizer.calls.clear()

        builder.build(chat("one", "two", "three", "4", "5"), context_tokens=WIDE, max_tokens=1)

        contents_encoded = [text for kind, text in tokenizer.calls if kind == "content"]
        assert contents_encoded == ["4", "5"]

    def test_what_is_kept_is_bounded(self):
        """Many large messages do not pile up, and results stay right."""
        tokenizer = CharTokenizer()
        builder = PromptBuilder(ChatTemplate(SMOLLM), tokenizer)

        for letter in "abcdefghijklmnopqrst":
            builder.build(chat(letter * 30_000), context_tokens=WIDE, max_tokens=1)
        again = builder.build(chat("a" * 30_000), context_tokens=WIDE, max_tokens=1)

        assert again.ids == ids_of(chat("a" * 30_000))
        assert builder._encoded._size <= 200_000


class TestSharedTokens:
    @staticmethod
    def shared(messages: list[Message], count: int, template: str = SMOLLM) -> str:
        """What is everybody's of the prompt, as text."""
        builder = PromptBuilder(ChatTemplate(template, bos_token="<bos>"), CharTokenizer())
        prompt = builder.build(messages, context_tokens=WIDE, max_tokens=1, shared_messages=count)
        return CharTokenizer.decode(prompt.ids[: prompt.shared_tokens])

    def test_an_agents_own_prompt_is_everybodys(self):
        """Up to the first word of a person, whatever that is."""
        for text in ("Hello", "sys"):
            shared = self.shared(chat(text, system="sys"), 1)

            assert shared == "<|im_start|>system\nsys<|im_end|>\n<|im_start|>user\n"

    def test_what_a_caller_wrote_as_system_is_not(self):
        """Only what the template writes is."""
        assert self.shared(chat("Hello", system="sys"), 0) == "<|im_start|>system\n"

    def test_a_template_that_merges_or_moves_it_shares_less(self):
        """The agent's words are in one piece with a person's, or behind them."""
        moved = SMOLLM.replace("in messages", "in messages | reverse")

        assert self.shared(chat("Hi", system="sys"), 1, NO_SYSTEM) == "<bos><start_of_turn>user\n"
        assert "Hi" not in self.shared(chat("Hi", system="sys"), 1, moved)
