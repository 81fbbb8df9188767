"""Any order of requests, loads, deaths and goodbyes keeps the scheduler's promises."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from orion.errors import AgentLoadError, OrionError
from orion.scheduling import Scheduler

MODELS = st.sampled_from(["a", "b", "c"])


class World(RuleBasedStateMachine):
    """The scheduler's surroundings: it answers every effect, in any order and at any time."""

    @initialize(
        places=st.integers(1, 3), queue_max=st.integers(0, 5), default_slots=st.integers(1, 3)
    )
    def build(self, places: int, queue_max: int, default_slots: int) -> None:
        self.scheduler = Scheduler(self, places, queue_max, default_slots)
        self.places = places
        self.loading: set[str] = set()
        self.leaving: set[str] = set()
        self.unwanted: set[str] = set()
        self.leases: dict[str, list[str]] = {}
        self.slots: dict[str, int] = {}
        self.outcome: dict[str, str] = {}
        self.resumed: set[str] = set()
        self.shy: set[str] = set()
        self.asked = 0

    # What the scheduler causes.

    def grant(self, request_id: str, model: str) -> None:
        assert self.outcome[request_id] == "waiting", "granted or refused before"
        assert model in self.leases, "granted on a model that is not resident"
        assert model not in self.leaving | self.unwanted, "granted on a model that leaves"
        assert self.may_grant(request_id, model), "granted beside one it may not run beside"
        for earlier, wanted in self.scheduler.waiting.items():
            if request_id not in self.resumed and int(earlier[1:]) < int(request_id[1:]):
                assert wanted in self.leases.keys() | self.loading, "overtook who needs its place"
        self.outcome[request_id] = "granted"
        self.leases[model].append(request_id)

    def may_grant(self, request_id: str, model: str) -> bool:
        return request_id not in self.shy or not self.shy & set(self.leases[model])

    def refuse(self, request_id: str, error: OrionError) -> None:
        assert self.outcome[request_id] == "waiting", "granted or refused before"
        self.outcome[request_id] = "refused"

    def start_load(self, model: str) -> None:
        assert model not in self.loading, "two loads of one model"
        assert model not in self.leases, "loaded while its worker lives"
        self.loading.add(model)

    def start_unload(self, model: str) -> None:
        assert not self.leases[model], "evicted while in use"
        assert model not in self.leaving, "evicted twice"
        self.leaving.add(model)

    # What happens to it.

    @rule(model=MODELS, is_shy=st.booleans())
    def a_request_comes(self, model: str, is_shy: bool) -> None:
        self.asked += 1
        request_id = f"r{self.asked}"
        self.outcome[request_id] = "waiting"
        self.shy |= {request_id} if is_shy else set()
        waiting = len(self.scheduler.waiting) + len(self.scheduler.resuming)
        full = self.scheduler.running + waiting >= (
            self.scheduler.capacity + self.scheduler.queue_max
        )
        self.scheduler.on_request(request_id, model)
        assert (self.outcome[request_id] == "refused") == full

    @precondition(lambda self: self._queue())
    @rule(data=st.data())
    def someone_gives_up(self, data: st.DataObject) -> None:
        request_id = data.draw(st.sampled_from(sorted(self._queue())))
        self.outcome[request_id] = "left"
        assert self.scheduler.on_leave(request_id)

    @precondition(lambda self: any(self.leases.values()))
    @rule(data=st.data())
    def an_answer_ends(self, data: st.DataObject) -> None:
        busy = sorted(model for model, leases in self.leases.items() if leases)
        model = data.draw(st.sampled_from(busy))
        self.leases[model].pop()
        self.scheduler.on_release(model)

    @precondition(lambda self: any(self.leases.values()))
    @rule(data=st.data(), new=MODELS)
    def an_answer_fails_and_goes_on_elsewhere(self, data: st.DataObject, new: str) -> None:
        busy = sorted(model for model, leases in self.leases.items() if leases)
        old = data.draw(st.sampled_from(busy))
        request_id = self.leases[old].pop()
        self._resumes(request_id)
        self.scheduler.on_handover(request_id, old, new)

    @rule(model=MODELS)
    def a_lost_model_is_wanted_again(self, model: str) -> None:
        was_there = model in self.leases or model in self.loading
        has_room = len(self.leases) + len(self.loading) < self.places
        assert self.scheduler.on_wanted(model) == (was_there or has_room)

    @precondition(lambda self: self.loading)
    @rule(data=st.data(), slots=st.integers(1, 4))
    def a_load_ends_well(self, data: st.DataObject, slots: int) -> None:
        self._comes(data.draw(st.sampled_from(sorted(self.loading))), slots)

    @precondition(lambda self: self.loading)
    @rule(data=st.data())
    def a_load_fails(self, data: st.DataObject) -> None:
        model = data.draw(st.sampled_from(sorted(self.loading)))
        self.loading.discard(model)
        self.unwanted.discard(model)
        self.scheduler.on_load_failed(model, AgentLoadError(model=model, reason="drawn"))

    @precondition(lambda self: self.leaving)
    @rule(data=st.data())
    def a_worker_that_was_asked_to_leave_is_gone(self, data: st.DataObject) -> None:
        self._goes(data.draw(st.sampled_from(sorted(self.leaving))))

    @rule(model=MODELS)
    def a_worker_is_about_to_be_killed(self, model: str) -> None:
        self.leaving |= {model} & self.leases.keys()
        self.scheduler.on_doomed(model)

    @precondition(lambda self: self.leases)
    @rule(data=st.data())
    def a_worker_dies(self, data: st.DataObject) -> None:
        model = data.draw(st.sampled_from(sorted(self.leases)))
        victims = self.leases[model]
        self._goes(model)
        for request_id in victims:
            if data.draw(st.booleans()):
                self._resumes(request_id)
                self.scheduler.on_resume(request_id, data.draw(MODELS))

    @rule(model=MODELS)
    def someone_asks_for_an_unload(self, model: str) -> None:
        self.unwanted |= {model} & (self.leases.keys() | self.loading)
        held = model in self.leases or model in self.loading
        assert self.scheduler.ask_unload(model) == held

    def _queue(self) -> dict[str, str]:
        return {**self.scheduler.resuming, **self.scheduler.waiting}

    def _resumes(self, request_id: str) -> None:
        self.outcome[request_id] = "waiting"
        self.resumed.add(request_id)

    def _comes(self, model: str, slots: int) -> None:
        self.loading.discard(model)
        self.leases[model], self.slots[model] = [], slots
        wished_away = model in self.unwanted
        self.unwanted.discard(model)  # those who waited for the load are served first
        self.scheduler.on_loaded(model, slots)
        if wished_away:
            self.unwanted.add(model)

    def _goes(self, model: str) -> None:
        del self.leases[model], self.slots[model]
        self.leaving.discard(model)
        self.unwanted.discard(model)
        self.scheduler.on_gone(model)

    # What stays true.

    @invariant()
    def it_knows_what_is_resident_and_what_loads(self) -> None:
        assert set(self.scheduler.resident) == set(self.leases)
        assert self.scheduler.loading == self.loading
        assert len(self.leases) + len(self.loading) <= self.places

    @invariant()
    def no_more_answers_than_slots(self) -> None:
        for model, held in self.scheduler.resident.items():
            assert held.leases == len(self.leases[model]) <= self.slots[model] == held.slots
        assert self.scheduler.running == sum(map(len, self.leases.values()))

    @invariant()
    def what_is_unwanted_goes_when_it_is_idle(self) -> None:
        assert {
            model for model in self.unwanted & self.leases.keys() if not self.leases[model]
        } <= self.leaving

    @invariant()
    def everyone_waits_or_has_heard(self) -> None:
        waiting = {key for key, outcome in self.outcome.items() if outcome == "waiting"}
        assert set(self._queue()) == waiting

    @invariant()
    def nobody_waits_without_a_reason(self) -> None:
        held_back = False
        closed: set[str] = set()
        for request_id, model in self._queue().items():
            held = self.scheduler.resident.get(model)
            if held is None:
                if model not in self.loading:
                    held_back = True
                    assert self._room_is_coming(), f"{model} waits for a place nobody will free"
            elif held_back or held.leaving or held.leave_when_idle or model in closed:
                continue
            elif held.leases < held.slots:
                assert not self.may_grant(request_id, model), f"{request_id} waits for {model}"
                closed.add(model)

    def _room_is_coming(self) -> bool:
        full = len(self.leases) + len(self.loading) >= self.places
        return full and bool(self.leaving or self.loading or any(self.leases.values()))

    def teardown(self) -> None:
        """Let everything run out: nobody is left over."""
        for _ in range(10 * (self.asked + 4) if hasattr(self, "asked") else 0):
            for model in list(self.leaving):
                self._goes(model)
            for model in list(self.loading):
                self._comes(model, 1)
            for model, leases in list(self.leases.items()):
                if leases:
                    leases.pop()
                    self.scheduler.on_release(model)
            if not self._queue():
                return
        assert not getattr(self, "asked", 0) or not self._queue(), "someone waits for ever"


TestScheduler = World.TestCase
TestScheduler.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
