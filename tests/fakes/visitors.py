"""Sessions that ask, listen, go and come back, beside a model of what they may be given."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from orion.answer_cache import Hit, Seat
from orion.clock import ManualClock
from orion.dispatcher import Attempt, Ended, FellBack, Granted, Loading, Queued, Ticket
from orion.engine.source import TicketSource
from orion.errors import GenerationError
from orion.protocol import Delta, Done, Started
from orion.types import Sampling
from tests.fakes.flight import make_cache, question

ENDS = ("stop", "stop", "length", "error", "takeover")
_GREEDY, _WARM = Sampling(temperature=0.0), Sampling(temperature=0.9)


@dataclass(eq=False)
class Generation:
    """One generation as the model of the cache knows it."""

    place: Any
    ticket: Ticket
    said: list[Any] = field(default_factory=list)
    seats: list[Listening] = field(default_factory=list)
    text: str = ""
    keeps: bool = True
    joinable: bool = True
    fell_back: bool = False
    over: bool = False

    @property
    def is_whole(self) -> bool:
        done = self.said[-1] if self.said else None
        stopped = isinstance(done, Done) and done.finish_reason == "stop"
        return stopped and bool(self.text) and not self.fell_back


@dataclass(eq=False)
class Listening:
    """One visitor in a generation; `num_heard` of what was said, waiting aside."""

    seat: Seat[Any]
    generation: Generation
    num_heard: int = 0


class Dispatcher:
    """Notes what it is asked to do."""

    def __init__(self) -> None:
        self.submitted: list[str] = []
        self.cancelled: list[str] = []

    def submit(self, ticket: Ticket) -> None:
        self.submitted.append(ticket.request_id)

    def cancel(self, request_id: str) -> None:
        self.cancelled.append(request_id)


class Visitors:
    """Every step is checked against what may happen at most, and at least."""

    def __init__(self, *, entries: int, ttl_s: float, public: bool) -> None:
        self.clock = ManualClock()
        self.entries, self.ttl_s, self.public = entries, ttl_s, public
        self.cache = make_cache(self.clock, entries=entries, ttl_s=ttl_s, public=public)
        self.dispatcher = Dispatcher()
        self.kept: dict[Any, tuple[str, float]] = {}  # the latest used last
        self.open: list[Generation] = []
        self.listening: list[Listening] = []
        self.made = 0
        self.hits = {"own": 0, "public": 0}

    def ask(self, who: int, what: int, *, greedy: bool = True, single: bool = True) -> None:
        """Visitor `who` asks; a hit must be its own or everybody's, whole and young enough."""
        self._expire()
        asked = question(
            f"q{what}" if single else f"q{what}, after what was said before",
            f"visitor {who}",
            sampling=_GREEDY if greedy else _WARM,
            is_single=single,
        )
        place = self._place(who, what, greedy=greedy, single=single)
        key = self.cache.key(asked)
        assert (key is None) is (place is None)
        self.made += 1
        source, ticket = self._source(f"g{self.made}")
        found = self.cache.board(key, source)
        if isinstance(found, Hit):
            self._check_hit(place, found)
            return
        assert place is None or place not in self.kept, "a stored answer was not given"
        self._sit_down(place, found, ticket)

    def speak(self, index: int) -> None:
        """A generation goes on, if somebody listens to it."""
        if self.open:
            generation = self.open[index % len(self.open)]
            ticket = generation.ticket
            if not generation.said:
                self._grant(generation)
            word = f"{ticket.request_id}.{len(generation.said)} "
            self._say(generation, Delta(request_id="x", seq=0, text=word, num_tokens=1))
            generation.text += word
            self._hear_first(generation)

    def end(self, index: int, how: str) -> None:
        """A generation ends, well or not, and one of its visitors hears it at once."""
        if not self.open:
            return
        generation = self.open[index % len(self.open)]
        if how == "takeover":
            attempt, error = Attempt(model="tiny", agent="other"), GenerationError(reason="no")
            self._say(generation, FellBack(attempt=attempt, error=error))
            generation.fell_back, generation.joinable = True, False
            self._hear_first(generation)
            return
        if how == "error":
            self._say(generation, Ended(error=GenerationError(reason="no")))
        else:
            if not generation.said:  # not a word so far: an empty answer, which is not kept
                self._grant(generation)
            self._say(generation, _done("length" if how == "length" else "stop"))
        generation.over = True
        self._hear_first(generation)

    def listen(self, index: int) -> None:
        """A visitor takes what there is."""
        if self.listening:
            self._catch_up(self.listening[index % len(self.listening)])

    def go(self, index: int) -> None:
        """A visitor goes; with the last one the generation ends."""
        if not self.listening:
            return
        listening = self.listening.pop(index % len(self.listening))
        generation = listening.generation
        before = len(self.dispatcher.cancelled)
        listening.seat.leave()
        generation.seats.remove(listening)
        ends = not generation.seats and generation in self.open
        assert len(self.dispatcher.cancelled) - before == int(ends)
        if ends:
            self.open.remove(generation)

    def purge(self, who: int) -> None:
        """A session is gone for good."""
        mine = [place for place in self.kept if place[0] == who]
        assert self.cache.purge(f"visitor {who}") == len(mine)
        for place in mine:
            del self.kept[place]
        for generation in self.open:
            if generation.place and generation.place[0] == who:
                generation.keeps = generation.joinable = False

    def clear(self) -> None:
        """The operator empties it."""
        self._expire()
        assert self.cache.clear() == len(self.kept)
        self.kept.clear()
        for generation in self.open:
            generation.keeps = generation.joinable = False

    def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)

    def check(self) -> None:
        """What is held is what ought to be: no flight, no answer too many."""
        self._expire()
        stats = self.cache.stats()
        assert stats["flights"] == len(self.open)
        assert stats["entries"] == len(self.kept) <= self.entries
        assert stats["hits"] == sum(self.hits.values())

    def leave_all(self) -> None:
        """The end: everybody goes, and nothing is left under way."""
        while self.listening:
            self.go(0)
        assert self.cache.stats()["flights"] == 0

    def _place(self, who: int, what: int, *, greedy: bool, single: bool) -> Any:
        """Where the model keeps the answer; None: nowhere."""
        if not greedy:
            return None
        return (-1, what) if self.public and single else (who, what, single)

    def _check_hit(self, place: Any, hit: Hit) -> None:
        text, stored_s = self.kept.pop(place)
        assert hit.answer.text == text, "another answer than the one kept"
        assert hit.age_s == self.clock.now() - stored_s < self.ttl_s
        self.kept[place] = (text, stored_s)
        self.hits["public" if place[0] == -1 else "own"] += 1

    def _sit_down(self, place: Any, seat: Seat[Any], ticket: Ticket) -> None:
        joinable = [one for one in self.open if place and one.joinable and one.place == place]
        assert seat.leads is not bool(joinable), "one generation for equal questions at once"
        if seat.leads:
            self.open.append(Generation(place=place, ticket=ticket))
        generation = self.open[-1] if seat.leads else joinable[0]
        listening = Listening(seat=seat, generation=generation)
        generation.seats.append(listening)
        self.listening.append(listening)

    def _grant(self, generation: Generation) -> None:
        generation.ticket.put(Queued(position=1, wait_s=0.1))
        generation.ticket.put(Loading(phase="loading_shard", ratio=0.5))
        grant = Granted(queue_s=0.0, load_s=0.0, cold=False, runtime="fake", variant="v")
        self._say(generation, grant)
        self._say(generation, Started(request_id="x", prompt_tokens=4))

    def _say(self, generation: Generation, message: Any) -> None:
        generation.ticket.put(message)
        generation.said.append(message)

    def _hear_first(self, generation: Generation) -> None:
        """The first of its visitors hears all; that is when the cache learns of it."""
        self._catch_up(generation.seats[0])
        if generation.over and generation in self.open:
            self.open.remove(generation)
            if generation.is_whole and generation.keeps and generation.place:
                self._expire()
                self.kept.pop(generation.place, None)
                self.kept[generation.place] = (generation.text, self.clock.now())
                while len(self.kept) > self.entries:
                    del self.kept[next(iter(self.kept))]

    def _catch_up(self, listening: Listening) -> None:
        said = listening.generation.said
        while (message := listening.seat.get(0.0)) is not None:
            if not isinstance(message, Queued | Loading):
                assert message is said[listening.num_heard], "something was missed, or said twice"
                listening.num_heard += 1
        assert listening.num_heard == len(said)

    def _expire(self) -> None:
        now_s = self.clock.now()
        old = [place for place, (_, at_s) in self.kept.items() if now_s - at_s >= self.ttl_s]
        for place in old:
            del self.kept[place]

    def _source(self, name: str) -> tuple[TicketSource, Ticket]:
        ticket = Ticket(request_id=name, attempts=(Attempt(model="tiny"),))
        return TicketSource(self.dispatcher, ticket), ticket  # type: ignore[arg-type]


def _done(reason: str) -> Done:
    return Done(
        request_id="x",
        finish_reason=reason,
        prompt_tokens=4,
        cached_tokens=0,
        completion_tokens=1,
        prefill_s=0.0,
        decode_s=0.1,
    )
