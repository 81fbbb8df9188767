"""Which model gets a place in memory next, whose turn is over, and what is loaded on a guess.

The order between models follows what is resident, so that `A B A A C A B C` costs three loads
and not eight; it is k-limited service of polling systems (H. Takagi, "Queuing Analysis of
Polling Models", ACM Computing Surveys 20(1), 1988): a model whose turn is over, or past which
others have waited for too long, takes no more requests and gives its place to the one that has
waited the longest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from orion.errors import ModelTooLargeError, NoRoomError

if TYPE_CHECKING:
    from orion.errors import OrionError
    from orion.scheduling.line import Line
    from orion.scheduling.model_cache import Resident
    from orion.scheduling.scheduler import Scheduler

_MEMORY_LAG_S = 2.0


class Turns:
    """Begins loads and ends models. Dispatcher thread only, but for `pending`.

    `pending` are the models that requests wait for and that have no place: since when, in the
    order in which they get one.
    """

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._cache = scheduler.cache
        self.pending: dict[str, float] = {}
        self._guess: str | None = None
        self._yielding: str | None = None
        self._short_for: str | None = None
        self._freed_s = float("-inf")

    def want(self, model: str, line: Line) -> None:
        """Requests wait for `model`, which has no place."""
        if model in self.pending or model in self._cache.loading:
            return
        if self._is_too_large(model):
            self._scheduler.refuse_line(model, self._too_large(model))
            return
        self.pending[model] = self._scheduler.clock.now()
        first = line.first()
        if first is not None and first.resuming:
            self.hurry(model)

    def hurry(self, model: str) -> None:
        """Somebody goes on with `model`: it is next, after others that somebody goes on with."""
        if model not in self.pending:
            return
        lines, before = self._scheduler.lines, {}
        for other, since_s in self.pending.items():
            first = lines[other].first()
            if other != model and first is not None and first.resuming:
                before[other] = since_s
        self.pending = {**before, model: self.pending[model], **self.pending}

    def changed(self, *, freed: bool = False) -> None:
        """More could be had now than a moment ago; `freed` because a process has ended."""
        self._short_for = None
        if freed:
            self._freed_s = self._scheduler.clock.now()

    def fill(self) -> None:
        """Give places to the models that wait for one, the longest wait first."""
        if self._scheduler.num_waiting or self._cache.num_leases:
            self.drop_guess()
        while self.pending:
            model = next(iter(self.pending))
            if self._has_room(model):
                del self.pending[model]
                self._load(model)
            elif self._make_room(model):
                break
        self._take_back()

    def bring_back(self, model: str) -> bool:
        """Load `model` unless somebody waits for the place. False: others hold every place."""
        if self._cache.is_known(model):
            return True
        if not self._cache.has_place or self._is_too_large(model):
            return False
        if not self.pending and self._fits(model):
            self._load(model)
        return True

    def guess(self, model: str) -> bool:
        """Load `model` on a guess, in a free place or in that of an idle model."""
        cache = self._cache
        busy = self._scheduler.num_waiting or cache.num_leases or cache.loading or cache.aborted
        if busy or cache.is_known(model) or cache.limits.keep_alive_s == 0:
            return False
        if cache.has_place and self._fits(model):
            self._load(model, speculative=True)
            return True
        if self._guess is not None or self._is_too_large(model):
            return False
        if not cache.is_leaving:
            victim = cache.victim()
            if victim is None:
                return False
            self._evict(victim)
        self._guess = model
        return True

    def guess_again(self) -> None:
        """A place has become free: go on with the guess it was made free for."""
        model, self._guess = self._guess, None
        if model is not None:
            self.guess(model)

    def drop_guess(self) -> None:
        """Give up a speculative load, unless somebody waits for it; requests go before it."""
        self._guess = None
        for model, load in self._cache.loading.items():
            if load.speculative and model not in self._scheduler.lines:
                self._cache.abort(model)
                self._scheduler.effects.abort_load(model)
                return

    def let_go(self, model: str, held: Resident) -> None:
        """Evict a model that has no more answers to give and was to leave then."""
        if held.leases or held.leaving:
            return
        is_over = held.yielding or (held.keep_alive_s == 0 and model not in self._scheduler.lines)
        if held.leave_when_idle or (is_over and model not in self._cache.pinned):
            self._evict(model)

    def expire(self) -> None:
        """Evict those that have been idle for as long as they were to be kept."""
        for model in self._cache.expired(self._scheduler.clock.now()):
            if model not in self._scheduler.lines:
                self._evict(model)

    def gone(self, model: str) -> None:
        """Its process has ended."""
        self.changed(freed=True)
        if model == self._yielding:
            self._yielding = None

    def _has_room(self, model: str) -> bool:
        # What is free is measured again when something has changed, not at every request.
        if not self._cache.has_place or model in self._cache.aborted or model == self._short_for:
            return False
        return self._fits(model)

    def _make_room(self, model: str) -> bool:
        """Begin to make room for `model`. False: there never will be, and it was refused."""
        if self._cache.aborted or self._cache.is_leaving:
            return True
        victim = self._cache.victim()
        if victim is not None:
            self._evict(victim)
        elif self._cache.may_free:
            self._let_starving_in(model)
            self._short_for = model if self._cache.has_place else None
        elif self._scheduler.clock.now() - self._freed_s > _MEMORY_LAG_S:
            self._scheduler.refuse_line(model, self._no_room(model))
            return False
        return True

    def _let_starving_in(self, model: str) -> None:
        """End the turn of a busy model, if it is over."""
        if self._yielding is not None:
            return
        limits, now_s = self._scheduler.limits, self._scheduler.clock.now()
        starving = now_s - self.pending[model] >= limits.patience_s
        busy = [
            (-held.turn, held.last_used, name)
            for name, held in self._cache.resident.items()
            if name not in self._cache.pinned
            and (
                held.turn >= limits.turn_max
                # A backlog of many models would otherwise swap them after every answer.
                or (starving and now_s - held.loaded_s >= limits.patience_s)
            )
        ]
        if busy:
            self._yielding = min(busy)[2]
            self._cache.resident[self._yielding].yielding = True

    def _take_back(self) -> None:
        """Let a yielding model go on if nobody wants its place, or it was pinned meanwhile."""
        model = self._yielding
        if model is None or (self.pending and model not in self._cache.pinned):
            return
        self._yielding = None
        held = self._cache.resident.get(model)
        if held is not None:
            held.yielding, held.turn = False, 0
            self._scheduler.serve(model)

    def _load(self, model: str, *, speculative: bool = False) -> None:
        if not speculative:
            self.drop_guess()
        need = self._need_bytes(model)
        now_s = self._scheduler.clock.now()
        self._cache.begin(model, need, now_s, speculative=speculative)
        self._scheduler.effects.start_load(model, speculative=speculative)

    def _evict(self, model: str) -> None:
        self._cache.resident[model].leaving = True
        self._scheduler.effects.start_unload(model)

    def _fits(self, model: str) -> bool:
        return self._cache.fits(self._need_bytes(model), self._scheduler.effects.free_bytes)

    def _is_too_large(self, model: str) -> bool:
        total = self._scheduler.effects.total_bytes()
        return self._cache.is_too_large(self._need_bytes(model), total)

    def _need_bytes(self, model: str) -> int:
        return self._cache.need_bytes(model, self._scheduler.effects.need_bytes)

    def _too_large(self, model: str) -> OrionError:
        have = self._cache.most_bytes(self._scheduler.effects.total_bytes()) or 0
        need = self._need_bytes(model)
        return ModelTooLargeError(agent=model, need_gb=need / 1e9, have_gb=have / 1e9)

    def _no_room(self, model: str) -> OrionError:
        pinned = sorted(self._cache.pinned & self._cache.resident.keys())
        reason = f"{', '.join(pinned)} may not leave" if pinned else "memory is short"
        return NoRoomError(agent=model, reason=reason)
