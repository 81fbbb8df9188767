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

from orion.errors import AgentLoadError
from orion.scheduling import Waiter
from tests.fakes.machine import OF_THE_MODEL, SIZES, Machine

MODELS = st.sampled_from([*"aab", *sorted(SIZES)])
CLIENTS = st.sampled_from(["", "anna", "anna", "ben", "cem"])
KEEP_ALIVE = st.sampled_from([None, None, -1.0, 0.0, 4.0])
PATIENCE_S = 10.0
RARE = [
    "a_lost_model_is_wanted_again",
    "a_guess_comes_at_any_time",
    "a_load_fails",
    "a_worker_is_about_to_be_killed",
    "a_worker_dies",
    "a_worker_dies",
    "someone_asks_for_an_unload",
    "someone_pins_a_model_or_lets_it_go",
    "another_program_takes_memory",
]
REQUESTS = st.tuples(
    MODELS, CLIENTS, st.integers(0, 12), KEEP_ALIVE, st.sampled_from([False, False, True])
)


class World(RuleBasedStateMachine):
    """Answers every effect, in any order and at any time."""

    machine: Machine

    @initialize(
        places=st.integers(1, 3),
        queue_max=st.sampled_from([0, 3, 6, 8]),
        default_slots=st.integers(1, 3),
        turn_max=st.integers(1, 4),
        client_share=st.sampled_from([0.25, 0.5, 0.5, 1.0]),
        keep_alive_s=st.sampled_from([-1.0, -1.0, 0.0, 5.0]),
        queue_tokens=st.sampled_from([20, 10_000]),
        budget_bytes=st.sampled_from([None, None, None, 8]),
        total=st.sampled_from([None, None, None, 9]),
        reserve_bytes=st.integers(0, 1),
        pinned=st.frozensets(MODELS, max_size=1),
    )
    def build(self, **given) -> None:
        self.machine = Machine(patience_s=PATIENCE_S, **given)
        self.scheduler = self.machine.scheduler
        self.queue_max, self.queue_tokens = given["queue_max"], given["queue_tokens"]
        self.asked = 0

    # What comes.

    @rule(requests=st.lists(REQUESTS, min_size=1, max_size=6))
    def requests_come(self, requests) -> None:
        for request in requests:
            self._request_comes(*request)

    def _request_comes(self, model, client, tokens, keep_alive_s, is_shy) -> None:
        machine, scheduler = self.machine, self.scheduler
        self.asked += 1
        name = f"r{self.asked}"
        machine.shy |= {name} if is_shy else set()
        room = machine.capacity + self.queue_max
        held = scheduler.running + scheduler.num_waiting
        mine = sum(machine.holds(client))
        share = max(1, int(room * scheduler.limits.client_share))
        waiter = Waiter(name, model, client=client, tokens=tokens, keep_alive_s=keep_alive_s)
        machine.enter(waiter)
        machine.refused.clear()
        scheduler.on_request(waiter)
        told = dict(machine.refused)
        code = told.pop(name, None)
        displaced = [other for other, why in told.items() if why not in OF_THE_MODEL]
        assert {told[other] for other in displaced} <= {"too_many_requests"}
        if code is None or code in OF_THE_MODEL:
            assert len(displaced) == (held >= room), "more are here than there is room for"
            assert not client or mine < share or held == mine, "more than its share"
        else:
            assert not displaced
            assert (code != "overloaded") or held >= room
            assert (code != "too_many_requests") or mine >= share
            assert (code != "backlog") or scheduler.waiting_tokens + tokens > self.queue_tokens

    @precondition(lambda self: self.machine.waiting)
    @rule(data=st.data())
    def someone_gives_up(self, data) -> None:
        name = data.draw(st.sampled_from(self.machine.waiting))
        self.machine.outcome[name] = "left"
        self.machine.lines[self.machine.requests[name].model].remove(name)
        assert self.scheduler.on_leave(name)

    @precondition(lambda self: any(self.machine.leases.values()))
    @rule(data=st.data(), count=st.integers(1, 4))
    def answers_end(self, data, count) -> None:
        for _ in range(count):
            if any(self.machine.leases.values()):
                model = data.draw(self._busy())
                client = self.machine.requests[self.machine.end(model)].client
                self.scheduler.on_release(model, client, seconds=1.0)

    @precondition(lambda self: any(self.machine.leases.values()))
    @rule(data=st.data(), new=MODELS)
    def an_answer_fails_and_goes_on_elsewhere(self, data, new) -> None:
        old = data.draw(self._busy())
        waiter = self.machine.go_on(self.machine.end(old), new)
        self.scheduler.on_handover(waiter, old)

    @precondition(lambda self: not self.machine.waiting and not self.scheduler.running)
    @rule(model=MODELS)
    def a_model_is_likely_to_be_wanted(self, model) -> None:
        self.scheduler.on_prefetch(model)

    @precondition(lambda self: self.machine.loading)
    @rule(data=st.data(), slots=st.integers(1, 4), num_bytes=st.integers(0, 6))
    def a_load_ends_well(self, data, slots, num_bytes) -> None:
        model = data.draw(st.sampled_from(sorted(self.machine.loading)))
        self.machine.come(model, slots, num_bytes)

    @precondition(lambda self: self.machine.alive - self.machine.leases.keys())
    @rule(slots=st.integers(1, 4))
    def all_that_come_and_go_have_come_and_gone(self, slots) -> None:
        for model in [*self.machine.leaving, *self.machine.aborting]:
            self.machine.go(model)
        for model in list(self.machine.loading):
            self.machine.come(model, slots)

    @precondition(lambda self: self.machine.leaving | self.machine.aborting)
    @rule(data=st.data())
    def a_worker_that_was_to_leave_is_gone(self, data) -> None:
        going = sorted(self.machine.leaving | self.machine.aborting)
        self.machine.go(data.draw(st.sampled_from(going)))

    @rule(data=st.data(), model=MODELS, flag=st.booleans(), event=st.sampled_from(RARE))
    def something_rare_happens(self, data, model, flag, event) -> None:
        getattr(self, event)(data, model, flag)

    @rule(seconds=st.sampled_from([1.0, 2.5, 5.0, PATIENCE_S]))
    def time_passes(self, seconds) -> None:
        machine = self.machine
        machine.clock.advance(seconds)
        self.scheduler.on_look()
        self._look_at_the_starving()
        for model in self.scheduler.cache.expired(machine.clock.now()):
            assert machine.lines.get(model), "stays although its time is over"

    # What is rare.

    def a_lost_model_is_wanted_again(self, data, model, flag) -> None:
        self.scheduler.on_wanted(model)

    def a_guess_comes_at_any_time(self, data, model, flag) -> None:
        asked_for = self.machine.waiting or self.scheduler.running
        assert not (self.scheduler.on_prefetch(model) and asked_for)

    def a_load_fails(self, data, model, flag) -> None:
        if model in self.machine.loading:
            self.machine.fail(model, AgentLoadError(model=model, reason="drawn"))

    def a_worker_is_about_to_be_killed(self, data, model, flag) -> None:
        self.machine.leaving |= {model} & self.machine.leases.keys()
        self.scheduler.on_doomed(model)

    def a_worker_dies(self, data, model, flag) -> None:
        if model in self.machine.leases:
            for name in self.machine.go(model):
                if flag:
                    self.scheduler.on_resume(self.machine.go_on(name, data.draw(MODELS)))

    def someone_asks_for_an_unload(self, data, model, flag) -> None:
        machine = self.machine
        known = machine.leases.keys() | machine.loading.keys()
        machine.unwanted |= {model} & known
        machine.pinned.discard(model)
        assert self.scheduler.ask_unload(model) == (model in known)

    def someone_pins_a_model_or_lets_it_go(self, data, model, flag) -> None:
        for pins in (self.machine.pinned, self.scheduler.cache.pinned):
            (pins.add if flag else pins.discard)(model)
        self.scheduler.on_look()

    def another_program_takes_memory(self, data, model, flag) -> None:
        self.machine.taken_by_others = 3 if flag else 0

    def _busy(self):
        return st.sampled_from(sorted(m for m, held in self.machine.leases.items() if held))

    def _look_at_the_starving(self) -> None:
        machine, pending = self.machine, self.scheduler.pending
        if not pending or machine.leaving or machine.aborting:
            return
        waited_s = machine.clock.now() - next(iter(pending.values()))
        began_s = machine.clock.now() - PATIENCE_S
        held = self.scheduler.resident
        may_yield = {name for name in machine.leases if held[name].loaded_s <= began_s}
        may_yield -= machine.pinned
        yielding = [model for model in held if held[model].yielding]
        assert yielding or not may_yield or waited_s < PATIENCE_S, "held back past its patience"

    # What stays true.

    @invariant()
    def it_knows_what_is_resident_and_what_comes_and_goes(self) -> None:
        machine, cache = self.machine, self.scheduler.cache
        assert cache.resident.keys() == machine.leases.keys()
        assert {model: load.speculative for model, load in cache.loading.items()} == machine.loading
        assert cache.aborted.keys() == machine.aborting
        assert {model for model, held in cache.resident.items() if held.leaving} == machine.leaving
        assert len(machine.alive) <= machine.places

    @invariant()
    def its_counts_are_those_of_the_books(self) -> None:
        machine, scheduler = self.machine, self.scheduler
        for model, held in scheduler.resident.items():
            assert held.leases == len(machine.leases[model]) <= machine.slots[model] == held.slots
            assert held.leases == sum(held.clients.values())
        assert scheduler.running == sum(map(len, machine.leases.values()))
        assert scheduler.capacity == machine.capacity
        waiting = machine.waiting
        assert scheduler.num_waiting == len(waiting)
        assert scheduler.waiting_tokens == sum(machine.requests[one].tokens for one in waiting)
        assert {model: line.size for model, line in scheduler.lines.items()} == {
            model: len(line) for model, line in machine.lines.items() if line
        }
        shares = scheduler.shares
        clients = {waiter.client for waiter in machine.requests.values()}
        for client in clients:
            running, waits = machine.holds(client)
            assert shares.running.get(client, 0) == running
            assert shares.held(client) == running + waits

    @invariant()
    def everyone_waits_or_has_heard(self) -> None:
        machine, scheduler = self.machine, self.scheduler
        waiting = {name for name, outcome in machine.outcome.items() if outcome == "waiting"}
        assert waiting == set(machine.waiting)
        known = scheduler.waiting(resuming=True) + scheduler.waiting(resuming=False)
        assert sorted(known) == sorted(waiting)
        assert dict(scheduler.places()).keys() == waiting

    @invariant()
    def whoever_waits_waits_for_something(self) -> None:
        machine, scheduler = self.machine, self.scheduler
        for model in scheduler.lines:
            known = model in machine.leases or model in machine.loading
            assert known != (model in scheduler.pending), f"nothing is done for {model}"
            held = scheduler.resident.get(model)
            if held is not None and held.takes:
                name = machine.next(model)
                assert name is not None
                assert not machine.may_grant(name, model), f"{name} waits beside a free slot"
        assert scheduler.pending.keys() <= scheduler.lines.keys()

    @invariant()
    def no_model_stays_in_the_way(self) -> None:
        machine, scheduler = self.machine, self.scheduler
        yielding = [model for model, held in scheduler.resident.items() if held.yielding]
        assert len(yielding) <= 1
        assert scheduler.pending or not yielding
        idle = {model for model, leases in machine.leases.items() if not leases}
        assert idle & machine.unwanted <= machine.leaving
        if scheduler.pending and not machine.leaving | machine.aborting:
            assert not idle - machine.pinned, "an idle model holds a place that others wait for"

    @invariant()
    def a_guess_is_in_nobodys_way(self) -> None:
        machine = self.machine
        guesses = [model for model, guess in machine.loading.items() if guess]
        if any(not machine.lines.get(model) for model in guesses):
            assert not any(machine.leases.values())
            assert not machine.waiting

    def teardown(self) -> None:
        """Let everything run out: nobody is left over, and nothing is still counted."""
        if not hasattr(self, "asked"):
            return
        for _ in range(10 * (self.asked + 4)):
            if self.machine.settle():
                break
        assert not self.machine.waiting, "someone waits for ever"
        for _ in range(self.asked + 1):
            self.machine.settle()
        assert self.scheduler.running == self.scheduler.num_waiting == 0
        assert self.scheduler.shares.num_clients == self.scheduler.waiting_tokens == 0


TestScheduler = World.TestCase
TestScheduler.settings = settings(max_examples=400, stateful_step_count=50, deadline=None)
