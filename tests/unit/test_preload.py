"""Which model is loaded ahead, and what is told of it."""

from __future__ import annotations

import threading
from typing import Any

from orion.clock import ManualClock
from orion.errors import UnknownAgentError
from orion.preload import Preloader
from orion.preload.preloader import DRAFT_GAP_S, OPEN_MAX, SESSIONS_MAX
from orion.settings import PredictionSettings

MODELS = {"code": "big", "talk": "small", "poem": "small", "maths": "maths-model"}


def model_of(agent: str) -> str:
    if agent not in MODELS:
        raise UnknownAgentError(name=agent, known="")
    return MODELS[agent]


def made(clock: ManualClock | None = None, **settings: Any) -> Preloader:
    return Preloader(model_of, PredictionSettings(**settings), clock or ManualClock())


def with_habit(**settings: Any) -> Preloader:
    """`talk` and `code` alternate in the session "s"; `small` is resident and was asked last."""
    preloader = made(**settings)
    for agent in ("talk", "code") * 6 + ("talk",):
        preloader.requested("s", agent, MODELS[agent])
    preloader.on_event("loaded", "small", {"seconds": 1.0, "speculative": False})
    return preloader


class TestAfterAnswer:
    def test_the_likely_next_model_is_loaded(self) -> None:
        """Learned from the agents before."""
        assert with_habit().after_answer("s") == "big"

    def test_a_resident_model_is_no_prefetch(self) -> None:
        """Nor is one that is on its way."""
        preloader = with_habit()
        preloader.on_event("loaded", "big", {"seconds": 1.0, "speculative": False})
        assert preloader.after_answer("s") is None

        coming = with_habit()
        coming.after_answer("s")
        assert coming.after_answer("s") is None
        assert coming.stats()["transition"]["predictions"] == 1

    def test_agents_of_one_model_count_together(self) -> None:
        """Two of one third each make two thirds for their model."""
        preloader = made(confidence=0.6)
        for agent in ("code", "talk", "code", "poem", "code", "maths") * 6 + ("code",):
            preloader.requested("s", agent, MODELS[agent])

        assert preloader.after_answer("s") == "small"

    def test_an_unsure_guess_loads_nothing(self) -> None:
        """Below `prediction.confidence`."""
        assert with_habit(confidence=0.99).after_answer("s") is None

    def test_of_two_that_are_as_likely_the_one_that_is_there_stays(self) -> None:
        """A guess is worth a swap only where it is better than staying."""
        preloader = made()
        for agent in ("talk", "code", "code", "talk", "talk"):
            preloader.requested("s", agent, MODELS[agent])
        preloader.requested("t", "code", "big")
        preloader.on_event("loaded", "big", {"seconds": 1.0, "speculative": False})

        assert preloader.after_answer("t") is None

    def test_nobody_in_particular_has_no_habits(self) -> None:
        """Without a session there is no last agent."""
        preloader = with_habit()

        assert preloader.after_answer(None) is None
        assert preloader.after_answer("stranger") is None

    def test_switched_off_it_does_nothing(self) -> None:
        """It learns nothing either, and says why."""
        preloader = with_habit(enabled=False)

        assert preloader.after_answer("s") is None
        assert preloader.draft("s", "code", 1.0, "big") is None
        stats = preloader.stats()
        assert (stats["enabled"], stats["active"]) == (False, False)
        assert "ORION_PREDICTION__ENABLED" in stats["reason"]

    def test_an_agent_that_left_the_registry_is_not_predicted(self) -> None:
        """After a reload of models.json."""
        preloader = made()
        for agent in ("talk", "gone") * 6 + ("talk",):
            preloader.requested("s", agent, MODELS.get(agent, ""))

        assert preloader.after_answer("s") != ""

    def test_a_model_asked_for_by_its_id_teaches_nothing(self) -> None:
        """It was no agent's turn."""
        preloader = made()
        for _ in range(9):
            preloader.requested("s", "talk", "maths-model")

        assert preloader.after_answer("s") is None

    def test_a_session_that_is_over_is_forgotten(self) -> None:
        """Its open predictions are dropped."""
        preloader = with_habit()
        preloader.after_answer("s")

        preloader.forget("s")

        assert preloader.after_answer("s") is None
        assert preloader.stats()["transition"]["dropped"] == 1


class TestDraft:
    def test_warms_the_model_the_draft_would_go_to(self) -> None:
        """Once."""
        preloader = made()

        assert preloader.draft("s", "code", 0.8, "big") == "big"
        assert preloader.draft("s", "code", 0.9, "big") is None

    def test_an_unsure_route_warms_nothing(self) -> None:
        """Nor does a draft of nobody, nor one where drafts are off."""
        assert made().draft("s", "code", 0.3, "big") is None
        assert made().draft(None, "code", 1.0, "big") is None
        assert made(drafts=False).draft("s", "code", 1.0, "big") is None

    def test_a_resident_model_is_warm_already(self) -> None:
        """It counts as nothing."""
        preloader = made()
        preloader.on_event("loaded", "big", {"seconds": 1.0, "speculative": False})

        assert preloader.draft("s", "code", 1.0, "big") is None
        assert preloader.stats()["draft"]["predictions"] == 0

    def test_a_session_is_rate_limited(self) -> None:
        """A few at once, then one per gap; another session has its own."""
        clock = ManualClock()
        preloader = made(clock)
        wanted = [f"model-{index}" for index in range(4)]

        loaded = [preloader.draft("s", "code", 1.0, model) for model in wanted[:3]]
        clock.advance(DRAFT_GAP_S)

        assert loaded == ["model-0", "model-1", None]
        assert preloader.stats()["draft"]["predictions"] == 2
        assert preloader.draft("s", "code", 1.0, "model-3") == "model-3"
        assert preloader.draft("t", "code", 1.0, "model-4") == "model-4"

    def test_a_message_causes_only_so_many_loads(self) -> None:
        """However long somebody goes on typing."""
        clock = ManualClock()
        preloader = made(clock)
        loaded = []
        for index in range(OPEN_MAX + 3):
            clock.advance(DRAFT_GAP_S)
            loaded.append(preloader.draft("s", "code", 1.0, f"model-{index}"))

        assert sum(model is not None for model in loaded) == OPEN_MAX


class TestLedgers:
    def test_a_used_load_is_a_hit_with_its_seconds(self) -> None:
        """As the dispatcher measured them."""
        clock = ManualClock()
        preloader = made(clock)
        preloader.draft("s", "code", 1.0, "big")
        clock.advance(5.0)
        preloader.on_event("loaded", "big", {"seconds": 3.0, "speculative": True})
        preloader.requested("s", "code", "big")
        preloader.on_event("granted", "big", {"speculative": True, "load_s_saved": 3.0})

        told = preloader.stats()["draft"]
        assert (told["hits"], told["loads"], told["used"], told["wasted"]) == (1, 1, 1, 0)
        assert told["saved_s"] == 3.0
        assert preloader.stats()["transition"]["predictions"] == 0

    def test_a_request_during_the_load_saved_what_had_passed_of_it(self) -> None:
        """It waited for the rest."""
        clock = ManualClock()
        preloader = made(clock)
        preloader.draft("s", "code", 1.0, "big")
        clock.advance(1.0)
        preloader.requested("s", "code", "big")
        clock.advance(2.0)
        preloader.on_event("loaded", "big", {"seconds": 3.0, "speculative": True})
        preloader.on_event("granted", "big", {"speculative": True, "load_s_saved": 3.0})

        assert preloader.stats()["draft"]["saved_s"] == 1.0

    def test_another_session_that_came_during_the_load_saved_as_little(self) -> None:
        """The dispatcher says when it came."""
        clock = ManualClock()
        preloader = made(clock)
        preloader.draft("s", "code", 1.0, "big")
        clock.advance(3.0)
        preloader.requested("other", "code", "big")
        preloader.on_event("loaded", "big", {"seconds": 3.0, "speculative": True})
        facts = {"speculative": True, "load_s_saved": 3.0, "ahead_s": 0.5}
        preloader.on_event("granted", "big", facts)

        assert preloader.stats()["draft"]["saved_s"] == 0.5

    def test_a_draft_whose_load_failed_may_be_tried_again(self) -> None:
        """By somebody else, at once."""
        preloader = made()
        assert preloader.draft("s", "code", 1.0, "big") == "big"
        assert preloader.draft("other", "code", 1.0, "big") is None

        preloader.on_event("gone", "big", {"speculative_unused": True})

        assert preloader.draft("other", "code", 1.0, "big") == "big"
        assert preloader.stats()["draft"]["given_up"] == 1

    def test_a_declined_draft_is_tried_again_after_the_answer(self) -> None:
        """Somebody was being answered; what is typed says more than habits do."""
        preloader = with_habit()
        preloader.draft("s", "maths", 1.0, "maths-model")
        assert preloader.after_answer("s") is None

        preloader.on_event("declined", "maths-model", {})

        assert preloader.after_answer("s") == "maths-model"
        assert preloader.after_answer("s") is None
        assert preloader.stats()["draft"]["predictions"] == 1

    def test_a_wrong_load_that_displaced_the_last_model_is_a_loss(self) -> None:
        """The seconds its reload took."""
        preloader = made()
        preloader.on_event("loaded", "small", {"seconds": 1.0, "speculative": False})
        preloader.draft("s", "code", 1.0, "big")
        preloader.on_event("gone", "small", {"speculative_unused": False})
        preloader.on_event("loaded", "big", {"seconds": 3.0, "speculative": True})
        preloader.requested("s", "talk", "small")
        preloader.on_event("gone", "big", {"speculative_unused": True})
        preloader.on_event("loaded", "small", {"seconds": 1.5, "speculative": False})
        preloader.on_event("granted", "small", {"speculative": False})

        told = preloader.stats()["draft"]
        assert (told["baseline_hits"], told["wasted"], told["lost_s"]) == (1, 1, 1.5)

    def test_bringing_back_what_it_displaced_saves_nothing(self) -> None:
        """The draft changed its mind; without it the model would have stayed."""
        clock = ManualClock()
        preloader = made(clock)
        preloader.on_event("loaded", "small", {"seconds": 2.0, "speculative": False})
        preloader.draft("s", "code", 1.0, "big")
        preloader.on_event("gone", "small", {"speculative_unused": False})
        preloader.on_event("loaded", "big", {"seconds": 3.0, "speculative": True})
        preloader.draft("s", "talk", 1.0, "small")
        preloader.on_event("gone", "big", {"speculative_unused": True})
        clock.advance(0.5)
        preloader.requested("s", "talk", "small")
        clock.advance(1.5)
        preloader.on_event("loaded", "small", {"seconds": 2.0, "speculative": True})
        preloader.on_event("granted", "small", {"speculative": True, "load_s_saved": 2.0})

        told = preloader.stats()["draft"]
        assert (told["loads"], told["used"], told["wasted"]) == (2, 1, 1)
        assert (told["saved_s"], told["lost_s"]) == (0.0, 1.5)

    def test_a_model_that_others_used_first_saved_them_the_wait(self) -> None:
        """Whoever asked."""
        clock = ManualClock()
        preloader = made(clock)
        preloader.draft("s", "code", 1.0, "big")
        clock.advance(5.0)
        preloader.on_event("loaded", "big", {"seconds": 3.0, "speculative": True})
        preloader.on_event("granted", "big", {"speculative": True, "load_s_saved": 3.0})

        told = preloader.stats()["draft"]
        assert (told["open"], told["used"], told["saved_s"]) == (1, 1, 3.0)

    def test_a_grant_on_nothing_ahead_saves_nothing(self) -> None:
        """The request had loaded the model itself."""
        preloader = made()
        preloader.draft("s", "code", 1.0, "big")
        preloader.on_event("granted", "big", {"speculative": False})

        assert preloader.stats()["draft"]["saved_s"] == 0.0

    def test_a_load_that_never_began_saved_and_lost_nothing(self) -> None:
        """The dispatcher declined: somebody was waiting."""
        preloader = made()
        preloader.on_event("loaded", "small", {"seconds": 1.0, "speculative": False})
        preloader.draft("s", "code", 1.0, "big")
        preloader.on_event("declined", "big", {})
        preloader.on_event("gone", "small", {"speculative_unused": False})
        preloader.requested("s", "code", "big")
        preloader.on_event("loaded", "big", {"seconds": 3.0, "speculative": False})
        preloader.on_event("granted", "big", {"speculative": False})
        preloader.on_event("loaded", "small", {"seconds": 1.0, "speculative": False})

        told = preloader.stats()["draft"]
        assert (told["hits"], told["loads"], told["saved_s"], told["lost_s"]) == (1, 0, 0.0, 0.0)

    def test_a_real_load_gives_up_the_guess_under_way(self) -> None:
        """It brought nothing, and may be guessed again."""
        preloader = made()
        preloader.draft("s", "code", 1.0, "big")

        preloader.on_event("loaded", "small", {"seconds": 1.0, "speculative": False})

        preloader.requested("s", "code", "big")
        assert preloader.draft("s", "code", 1.0, "big") == "big"
        assert preloader.stats()["draft"]["saved_s"] == 0.0

    def test_nobody_has_no_say(self) -> None:
        """A request without a session judges nothing."""
        preloader = made()
        preloader.draft("s", "code", 1.0, "big")

        preloader.requested(None, "code", "big")

        assert preloader.stats()["draft"]["open"] == 1

    def test_odd_events_change_nothing(self) -> None:
        """It listens on the dispatcher's thread and must not break it."""
        preloader = made()

        preloader.on_event("dreamt", "big", {})
        preloader.on_event("gone", "unknown", {})
        preloader.on_event("granted", "unknown", {"speculative": True})

        assert preloader.stats()["draft"]["loads"] == 0


class TestBounds:
    def test_sessions_are_forgotten_in_turn(self) -> None:
        """What they had open is dropped, and the counts still add up."""
        preloader = made()
        for index in range(SESSIONS_MAX + 50):
            preloader.draft(f"session-{index}", "code", 1.0, f"model-{index}")

        told = preloader.stats()["draft"]
        assert told["dropped"] == 50
        assert told["open"] == SESSIONS_MAX

    def test_threads_do_not_lose_counts(self) -> None:
        """Drafts, requests and events at once."""
        preloader = made()

        def work(name: str) -> None:
            for index in range(300):
                preloader.draft(name, "code", 1.0, f"{name}-{index}")
                preloader.requested(name, "code", "big")
                preloader.on_event("loaded", "big", {"seconds": 0.1, "speculative": True})
                preloader.after_answer(name)

        threads = [threading.Thread(target=work, args=(f"s{index}",)) for index in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        told = preloader.stats()["draft"]
        outcomes = ("hits", "baseline_hits", "neither", "dropped", "open")
        assert told["predictions"] == sum(told[name] for name in outcomes)
        assert told["open"] == 0
