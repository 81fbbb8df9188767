"""Whatever comes and goes, the model cache's books are right and its victims are fair."""

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

from orion.scheduling import CacheLimits, ModelCache

MODELS = st.sampled_from(list("abcde"))
CLIENTS = st.sampled_from(["", "anna", "ben"])
BYTES = st.integers(0, 6)


class Books(RuleBasedStateMachine):
    """The same facts kept in the simplest way: lists, in the order of use."""

    @initialize(
        places=st.integers(1, 4),
        default_slots=st.integers(1, 3),
        budget_bytes=st.none() | st.integers(5, 15),
        reserve_bytes=st.integers(0, 2),
        keep_alive_s=st.sampled_from([-1.0, 0.0, 5.0]),
        pinned=st.frozensets(MODELS, max_size=2),
    )
    def build(self, **given) -> None:
        self.limits = CacheLimits(**given)
        self.cache = ModelCache(self.limits)
        self.now_s = 0.0
        self.used: list[str] = []  # resident models, the least recently used first
        self.slots: dict[str, int] = {}
        self.bytes: dict[str, int] = {}  # of every process that lives
        self.planned: dict[str, int] = {}
        self.known: dict[str, tuple[int, int]] = {}  # measured bytes, and the plan they were of
        self.loading: dict[str, bool] = {}
        self.aborting: set[str] = set()
        self.leaving: set[str] = set()
        self.leases: list[tuple[str, str]] = []
        self.keep_alive_s: dict[str, float] = {}
        self.idle_since_s: dict[str, float] = {}
        self.pinned = set(self.limits.pinned)

    @rule(seconds=st.sampled_from([0.5, 3.0, 10.0]))
    def time_passes(self, seconds) -> None:
        self.now_s += seconds

    @rule(
        model=MODELS, planned=BYTES, speculative=st.booleans(), free=st.none() | st.integers(0, 20)
    )
    def a_load_is_wanted(self, model, planned, speculative, free) -> None:
        cache, limits = self.cache, self.limits
        known = model in {*self.used, *self.loading, *self.aborting}
        assert cache.is_known(model) == known
        need = cache.need_bytes(model, lambda _: planned)
        measured, plan = self.known.get(model, (0, 0))
        assert need == (planned if not measured or 0 < planned < plan else measured)
        self.planned[model] = planned
        within = (
            limits.budget_bytes is None or sum(self.bytes.values()) + need <= limits.budget_bytes
        )
        coming = sum(self.bytes[other] for other in self.loading)
        there = free is None or need + coming + limits.reserve_bytes <= free
        assert cache.fits(need, lambda: free) == (not need or (within and there))
        if known or not cache.has_place or not cache.fits(need, lambda: free):
            return
        cache.begin(model, need, self.now_s, speculative=speculative)
        self.loading[model], self.bytes[model] = speculative, need

    @precondition(lambda self: self.loading)
    @rule(data=st.data(), slots=st.integers(1, 4), num_bytes=BYTES)
    def a_load_ends_well(self, data, slots, num_bytes) -> None:
        model = data.draw(st.sampled_from(sorted(self.loading)))
        held = self.cache.loaded(model, slots, num_bytes, self.now_s)
        assert held.speculative == self.loading.pop(model)
        if num_bytes:
            self.bytes[model] = num_bytes
            self.known[model] = num_bytes, self.planned[model]
        self.slots[model] = slots
        self.keep_alive_s[model] = self.limits.keep_alive_s
        self._use(model)

    @precondition(lambda self: self.loading)
    @rule(data=st.data(), aborts=st.booleans())
    def a_load_ends_badly(self, data, aborts) -> None:
        model = data.draw(st.sampled_from(sorted(self.loading)))
        del self.loading[model]
        if aborts:
            self.cache.abort(model)
            self.aborting.add(model)
        else:
            self.cache.failed(model)
            del self.bytes[model]

    @rule(model=MODELS, client=CLIENTS, keep_alive_s=st.sampled_from([None, -1.0, 0.0, 4.0]))
    def an_answer_begins(self, model, client, keep_alive_s) -> None:
        held = self.cache.resident.get(model)
        running = sum(leased == model for leased, _ in self.leases)
        takes = model in self.used and model not in self.leaving and running < self.slots[model]
        assert (held is not None and held.takes) == takes
        if held is None or not takes:
            return
        self.cache.lease(held, keep_alive_s, client)
        self.leases.append((model, client))
        wish_s = self.limits.keep_alive_s if keep_alive_s is None else keep_alive_s
        self.keep_alive_s[model] = wish_s
        self._use(model, begins=True)

    @rule(model=MODELS, client=CLIENTS)
    def an_answer_ends(self, model, client) -> None:
        began = (model, client) in self.leases
        assert (self.cache.release(model, self.now_s, client) is not None) == began
        if began:
            self.leases.remove((model, client))
            self._use(model)

    @rule(model=MODELS, num_bytes=BYTES)
    def a_process_is_measured(self, model, num_bytes) -> None:
        self.cache.measured(model, num_bytes)
        if model in self.used and num_bytes > self.bytes[model]:
            self.bytes[model] = num_bytes
            self.known[model] = num_bytes, self.known.get(model, (0, 0))[1]

    @rule(model=MODELS)
    def a_model_is_told_to_leave(self, model) -> None:
        if model in self.used:
            self.cache.resident[model].leaving = True
            self.leaving.add(model)

    @rule(model=MODELS, pinned=st.booleans())
    def a_model_is_pinned_or_let_go(self, model, pinned) -> None:
        for pins in (self.pinned, self.cache.pinned):
            (pins.add if pinned else pins.discard)(model)

    @rule(model=MODELS)
    def a_process_ends(self, model) -> None:
        if model in self.loading:
            return
        gone = self.cache.gone(model)
        assert (gone is not None) == (model in self.used)
        self.used = [other for other in self.used if other != model]
        self.leases = [lease for lease in self.leases if lease[0] != model]
        self.bytes.pop(model, None)
        self.leaving.discard(model)
        self.aborting.discard(model)

    def _use(self, model: str, *, begins: bool = False) -> None:
        self.used = [*(other for other in self.used if other != model), model]
        if not begins:
            self.idle_since_s[model] = self.now_s

    @invariant()
    def its_counts_are_those_of_the_books(self) -> None:
        cache, limits = self.cache, self.limits
        assert cache.resident.keys() == set(self.used)
        assert cache.num_taken == len(self.used) + len(self.loading) + len(self.aborting)
        assert cache.num_taken <= limits.places
        assert cache.has_place == (cache.num_taken < limits.places)
        assert cache.num_leases == len(self.leases)
        assert cache.is_leaving == bool(self.leaving)
        free = limits.places - len(self.used)
        slots = sum(self.slots[model] for model in self.used)
        assert cache.capacity == slots + free * limits.default_slots
        for model, held in cache.resident.items():
            clients = [client for leased, client in self.leases if leased == model]
            assert held.leases == len(clients) == sum(held.clients.values()) <= held.slots
            assert held.clients == {client: clients.count(client) for client in clients}
            assert held.num_bytes == self.bytes[model]

    @invariant()
    def the_victim_is_the_least_recently_used_that_may_go(self) -> None:
        leased = {model for model, _ in self.leases}
        may_go = [m for m in self.used if m not in leased | self.leaving | self.pinned]
        assert self.cache.victim() == next(iter(may_go), None)

    @invariant()
    def those_whose_time_is_over_may_go_too(self) -> None:
        leased = {model for model, _ in self.leases}
        for model in self.used:
            idle_s = self.now_s - self.idle_since_s[model]
            over = 0 <= self.keep_alive_s[model] <= idle_s
            may_go = model not in leased | self.leaving | self.pinned
            assert (model in self.cache.expired(self.now_s)) == (over and may_go)

    @invariant()
    def room_may_come_unless_all_that_is_here_is_pinned(self) -> None:
        stays = set(self.used) - self.leaving
        coming = self.loading or self.aborting or self.leaving or stays - self.pinned
        assert self.cache.may_free == bool(coming)


TestModelCache = Books.TestCase
TestModelCache.settings = settings(max_examples=150, stateful_step_count=50, deadline=None)
