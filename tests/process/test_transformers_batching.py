"""Answers that share a forward pass: each says what it says alone, however others come and go."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from orion.errors import GenerationError, OrionError, OutOfMemoryError
from orion.runtime.base import Generated, Job
from orion.runtime.prompt import Prompt
from orion.types import FinishReason, Message, Role, Sampling
from tests.fakes.tiny_model import GREEDY, Recorder, options_of

pytestmark = [
    pytest.mark.process,
    pytest.mark.timeout(120),
    pytest.mark.filterwarnings("ignore"),  # of the tensor libraries
]

PROMPTS = ([3, 1, 4, 1, 5], [9, 2] * 9, [6], list(range(40)) * 3)


class Gated(Recorder):
    """Waits at its token number `at` until it is let on."""

    def __init__(self, at: int, *, limit: int | None = None) -> None:
        super().__init__(limit)
        self.at = at
        self.reached = threading.Event()
        self.let_on = threading.Event()

    def piece(self, text: str, num_tokens: int) -> None:
        super().piece(text, num_tokens)
        if self.num_tokens == self.at:
            self.reached.set()
            assert self.let_on.wait(60)


class Talk(threading.Thread):
    """One answer on a thread of its own."""

    def __init__(
        self,
        batch: Any,
        ids: list[int],
        sampling: Sampling = GREEDY,
        *,
        output: Recorder | None = None,
        session: str = "",
    ) -> None:
        super().__init__(daemon=True)
        self.output = output or Recorder()
        self.error: OrionError | None = None
        self.done: Generated | None = None
        self._batch = batch
        self._prompt = Prompt(ids=list(ids))
        self._job = Job(
            request_id="r",
            messages=(Message(role=Role.USER, content="x"),),
            sampling=sampling,
            trim_history=False,
            session=session,
        )
        self.start()

    def run(self) -> None:
        try:
            self.done = self._batch.answer(self._job, self._prompt, self.output)
        except OrionError as error:
            self.error = error

    @property
    def text(self) -> str:
        """All of it, once it has ended."""
        self.join(60)
        assert self.done, self.error
        return self.output.text


class Small:
    """A small random model in float32, where no two scores are near a tie, and a batch of it."""

    def __init__(self) -> None:
        import torch
        from transformers import LlamaConfig, LlamaForCausalLM

        from orion.runtime.transformers.batching import Batch
        from orion.runtime.transformers.caching import PassageStore

        torch.manual_seed(1)
        sizes = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3}
        heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
        config = LlamaConfig(vocab_size=97, initializer_range=0.4, **sizes, **heads)
        self.model = LlamaForCausalLM(config).eval()
        self.passages = PassageStore(self.model, 1 << 24)
        self.batch = Batch(
            self.model,
            self.passages,
            ending_ids=frozenset,
            decode=lambda ids: "".join(chr(0x4E00 + token) for token in ids),
            context_tokens=400,
            max_rows=4,
        )
        self.widths: list[int] = []
        self.model.register_forward_pre_hook(self._see, with_kwargs=True)

    def _see(self, _model: Any, _given: Any, named: dict[str, Any]) -> None:
        self.widths.append(int(named["input_ids"].shape[0]))

    def alone(self, ids: list[int], sampling: Sampling = GREEDY) -> str:
        """What the answer is without company."""
        return Talk(self.batch, ids, sampling).text

    def together(self, sampling: Sampling = GREEDY, *, first: Recorder | None = None) -> list[Talk]:
        """All prompts at once, in one batch: the first waits at its second token for the rest."""
        output = Gated(2)
        talks = [Talk(self.batch, PROMPTS[0], sampling, output=output)]
        assert output.reached.wait(60)
        talks += [Talk(self.batch, ids, sampling) for ids in PROMPTS[1:]]
        output.let_on.set()
        return talks


@pytest.fixture
def small() -> Iterator[Small]:
    made = Small()
    yield made
    made.batch.close()


class TestCompany:
    def test_each_says_what_it_says_alone(self, small: Small) -> None:
        """Prompts of 1 to 120 tokens share passes, and no text changes."""
        alone = [small.alone(ids) for ids in PROMPTS]
        assert max(small.widths) == 1

        texts = [talk.text for talk in small.together()]

        assert texts == alone
        assert max(small.widths) == 4

    def test_rows_come_and_go_in_mid_batch(self, small: Small) -> None:
        """Answers of all lengths, one place taken over by another: still the same texts."""
        lengths = (40, 3, 1, 17, 9, 28, 2, 40)
        wishes = [(PROMPTS[i % 4], options_of(max_tokens=n)) for i, n in enumerate(lengths)]
        alone = [small.alone(*wish) for wish in wishes]

        talks = [Talk(small.batch, *wish) for wish in wishes]

        assert [talk.text for talk in talks] == alone
        assert max(small.widths) > 1

    def test_a_row_grows_past_its_room(self, small: Small) -> None:
        """Two hundred tokens, more than a cache has columns to spare."""
        long = options_of(max_tokens=200)
        alone = [small.alone(ids, long) for ids in PROMPTS]

        assert [talk.text for talk in small.together(long)] == alone

    def test_a_stop_ends_its_own_row_only(self, small: Small) -> None:
        """At the token where it was heard; the others go on as if it had never been."""
        alone = [small.alone(ids) for ids in PROMPTS]
        stopped = Gated(3, limit=3)
        talk = Talk(small.batch, PROMPTS[3], output=stopped)
        assert stopped.reached.wait(60)
        others = [Talk(small.batch, ids) for ids in PROMPTS[:3]]
        stopped.let_on.set()

        assert [other.text for other in others] == alone[:3]
        assert talk.text == alone[3][:3]
        assert talk.done
        assert talk.done.finish_reason is FinishReason.CANCELLED

    def test_a_penalty_is_for_its_own_row(self, small: Small) -> None:
        """Rules of sampling do not leak from one row to the next."""
        harsh = options_of(repetition_penalty=1.9)
        plain, penalised = small.alone(PROMPTS[0]), small.alone(PROMPTS[0], harsh)

        talks = [Talk(small.batch, PROMPTS[0], how) for how in (GREEDY, harsh, GREEDY, harsh)]

        assert plain != penalised
        assert [talk.text for talk in talks] == [plain, penalised] * 2

    def test_narrowed_sampling_is_greedy_and_free_sampling_is_not(self, small: Small) -> None:
        """Each row is warped and drawn by itself."""
        narrow = options_of(temperature=0.7, top_k=1, top_p=1.0, min_p=0.0)
        free = options_of(temperature=3.0, top_k=0, top_p=1.0, min_p=0.0)
        greedy = small.alone(PROMPTS[0])

        same, other, again, more = (
            Talk(small.batch, PROMPTS[0], how) for how in (narrow, free, narrow, free)
        )

        assert (same.text, again.text) == (greedy, greedy)
        assert len({greedy, other.text, more.text}) == 3

    def test_a_seed_is_answered_without_company(self, small: Small) -> None:
        """It waits for an empty batch, and its text is always the same."""
        seeded = options_of(temperature=2.0, top_k=0, top_p=1.0, min_p=0.0, seed=7)
        alone = small.alone(PROMPTS[1], seeded)
        gated = Gated(2)
        first = Talk(small.batch, PROMPTS[0], output=gated)
        assert gated.reached.wait(60)
        second = Talk(small.batch, PROMPTS[1], seeded)
        gated.let_on.set()

        assert second.text == alone
        assert len(first.text) == 24
        assert max(small.widths) == 1


class TestChooser:
    @pytest.mark.parametrize(
        "asked",
        [
            {"top_k": 5},
            {"top_p": 0.6},
            {"min_p": 0.2},
            {"top_k": 20, "top_p": 0.8, "min_p": 0.02, "repetition_penalty": 1.3},
        ],
    )
    def test_it_draws_what_generate_can_draw(self, small: Small, asked: dict[str, Any]) -> None:
        """The same tokens in about the same shares, from the scores of one prompt."""
        import torch

        from orion.runtime.transformers.sampling import Chooser, configuration

        off = {"top_k": 0, "top_p": 1.0, "min_p": 0.0, "max_tokens": 1}
        sampling = options_of(**(off | {"temperature": 1.7} | asked))
        ids = torch.tensor([PROMPTS[0]])
        with torch.no_grad():
            logits = small.model(input_ids=ids).logits[0, -1].float()
        config = configuration(sampling, max_tokens=1, ending_ids=frozenset())
        rules = small.model._get_logits_processor(config)
        wanted = rules(ids, logits[None].clone()).softmax(dim=-1)[0]

        chooser = Chooser(sampling, PROMPTS[0], max_tokens=0, device="cpu")
        drawn = torch.tensor([chooser.choose(logits) for _ in range(3000)])
        shares = torch.bincount(drawn, minlength=97) / 3000

        assert set(drawn.tolist()) <= set(wanted.nonzero()[:, 0].tolist())
        assert float((shares - wanted).abs().max()) < 0.05


class TestReuse:
    def test_what_was_computed_in_company_serves_the_next_turn(self, small: Small) -> None:
        """All but the last token, and the answer is the one without reuse."""
        talks = [Talk(small.batch, ids, session=f"s{number}") for number, ids in enumerate(PROMPTS)]
        turns = [
            ids + [ord(c) - 0x4E00 for c in talk.text] + [8, 8]
            for ids, talk in zip(PROMPTS, talks, strict=True)
        ]
        cold = [small.alone(ids) for ids in turns]

        warm = [Talk(small.batch, ids, session=f"s{n}") for n, ids in enumerate(turns)]

        assert [talk.text for talk in warm] == cold
        cached = [talk.done.cached_tokens for talk in warm if talk.done]
        assert cached == [len(ids) - 3 for ids in turns]

    def test_a_first_prompt_interrupted_between_layers_leaves_nothing(self, small: Small) -> None:
        """Layers that were never reached cannot be gone on from."""

        class AfterALayer(Recorder):
            @property
            def stopped(self) -> bool:
                return len(self.read) > 1

        stopped = Talk(small.batch, PROMPTS[3], output=AfterALayer(), session="s")
        assert stopped.text == ""
        again = Talk(small.batch, [*PROMPTS[3], 5], session="s")

        assert again.text == small.alone([*PROMPTS[3], 5])
        assert again.done
        assert again.done.cached_tokens == 0


class TestFailures:
    @pytest.mark.parametrize(
        ("failure", "kind", "survivors"),
        [(MemoryError(), OutOfMemoryError, 3), (RuntimeError("secret"), GenerationError, 0)],
    )
    def test_a_failed_step_ends_who_must_go_and_serves_on(
        self,
        small: Small,
        monkeypatch: pytest.MonkeyPatch,
        failure: Exception,
        kind: type[OrionError],
        survivors: int,
    ) -> None:
        """Without memory the longest row makes room for the others, whose texts are right."""
        alone = [small.alone(ids) for ids in PROMPTS]
        layer = small.model.model.layers[1]
        forward = layer.forward

        def fail(hidden: Any, *given: Any, **named: Any) -> Any:
            if hidden.shape[0] == 4:
                monkeypatch.undo()
                raise failure
            return forward(hidden, *given, **named)

        monkeypatch.setattr(layer, "forward", fail)
        talks = small.together()
        for talk in talks:
            talk.join(60)
        failed = [talk.error for talk in talks if talk.error]
        right = [talk for talk, text in zip(talks, alone, strict=True) if talk.output.text == text]

        assert [type(error) for error in failed] == [kind] * (4 - survivors)
        assert "secret" not in str(failed[0])
        assert talks[3].error is not None
        assert len(right) == survivors
        assert [small.alone(ids) for ids in PROMPTS] == alone

    def test_no_numbers_in_one_row_are_its_own(
        self, small: Small, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It leaves with an error, and what it leaves behind poisons nobody."""
        alone = [small.alone(ids) for ids in PROMPTS]
        layer = small.model.model.layers[0]
        forward = layer.forward

        def poison(hidden: Any, *given: Any, **named: Any) -> Any:
            if hidden.shape[0] == 4:
                monkeypatch.undo()
                hidden = hidden.clone()
                hidden[1] = float("nan")
            return forward(hidden, *given, **named)

        monkeypatch.setattr(layer, "forward", poison)
        talks = small.together()
        for talk in talks:
            talk.join(60)

        assert [type(talk.error) for talk in talks if talk.error] == [GenerationError]
        good = [talk.output.text for talk in talks if not talk.error]
        assert len(good) == 3
        assert set(good) <= set(alone)

    def test_an_output_that_breaks_is_its_own(self, small: Small) -> None:
        """What a caller's side raises ends that answer only."""

        class Broken(Recorder):
            def piece(self, text: str, num_tokens: int) -> None:
                super().piece(text, num_tokens)
                if self.num_tokens == 3:
                    raise ValueError

        alone = small.alone(PROMPTS[1])
        broken = Talk(small.batch, PROMPTS[0], output=Broken())
        other = Talk(small.batch, PROMPTS[1])

        assert other.text == alone
        broken.join(60)
        assert isinstance(broken.error, GenerationError)

    def test_who_waits_can_give_up(self, small: Small) -> None:
        """A stop is heard before its turn has come."""
        gated, nobody = Gated(2), Recorder(limit=0)
        first = Talk(small.batch, PROMPTS[0], output=gated)
        assert gated.reached.wait(60)
        waiting = Talk(small.batch, PROMPTS[1], options_of(seed=1), output=nobody)

        assert waiting.text == ""
        assert first.is_alive()
        gated.let_on.set()
        assert len(first.text) == 24

    def test_a_close_leaves_nobody_waiting(self, small: Small) -> None:
        """Neither who was being answered nor who comes later."""
        gated = Gated(2)
        talk = Talk(small.batch, PROMPTS[0], output=gated)
        assert gated.reached.wait(60)
        closing = threading.Thread(target=small.batch.close)
        closing.start()
        later = Talk(small.batch, PROMPTS[1])
        gated.let_on.set()
        for thread in (closing, talk, later):
            thread.join(60)

        assert talk.error or talk.done
        assert isinstance(later.error, GenerationError)
