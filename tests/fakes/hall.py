"""A dispatcher whose workers do what the test says and whose clock is moved by hand."""

from __future__ import annotations

import threading
from typing import Any

from orion.breakers import BreakerConfig, Breakers
from orion.clock import ManualClock
from orion.dispatcher import (
    Attempt,
    Dispatcher,
    DispatcherLimits,
    Ended,
    LoadPlan,
    Queued,
    Ticket,
    WorkerState,
)
from orion.errors import WeightsMissingError
from orion.protocol import Done, Generate, Load
from orion.workers import Pulse
from tests.fakes.worker import FakeWorker, Works

LIMIT_S = 10.0
RUNTIME = "tests.fakes.runtime:FakeRuntime"


class ListLog:
    """Keeps the names of the lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __getattr__(self, level: str) -> Any:
        return lambda event, **facts: self.lines.append(event)


def plan(model: str) -> LoadPlan:
    """How the fake models load; two of them do not."""
    if model == "missing":
        raise WeightsMissingError(model=model, file="a.gguf", hint="Fetch it.")
    if model == "odd":
        raise ZeroDivisionError
    load = Load(model=model, variant={}, home="/h", slots=2, context_tokens=100, threads=1)
    runtime_class = "other:Runtime" if model == "foreign" else RUNTIME
    return LoadPlan(
        model=model, runtime="fake", runtime_class=runtime_class, variant="v1", load=load
    )


class Hall:
    """A dispatcher, its workers and its clock."""

    def __init__(self, *, used_models: frozenset[str] = frozenset(), **given: Any) -> None:
        self.free_bytes: int | None = None
        self.total_bytes: int | None = given.pop("total_bytes", None)
        self.observed: list[tuple[str, str, dict[str, Any]]] = []
        self.clock = ManualClock(1000.0)
        self.works = Works()
        self.log = ListLog()
        self.pulses: dict[int, Pulse] = {}
        self.rules = BreakerConfig(jitter=0.0)
        self.breakers = Breakers(clock=self.clock, log=self.log)
        limits: dict[str, Any] = {
            "places": 1,
            "queue_max": 2,
            "default_slots": 2,
            "load_s": 60.0,
            "generate_s": 90.0,
            "spares": 1,
            "spare_class": RUNTIME,
        }
        self.dispatcher = Dispatcher(
            limits=DispatcherLimits(**{**limits, **given}),
            plan=plan,
            start_worker=self.works,
            clock=self.clock,
            breaker_for=lambda kind, target: self.breakers.get(f"{kind}:{target}", self.rules),
            read_pulse=self.pulses.get,
            used_models=used_models,
            free_bytes=lambda: self.free_bytes,
            total_bytes=self.total_bytes,
            observer=lambda event, model, facts: self.observed.append((event, model, facts)),
            log=self.log,
        )
        self.asked = 0

    def settle(self) -> None:
        """Wait until everything said so far, and a tick that was due, has been dealt with."""
        for _ in range(3):
            done = threading.Event()
            self.dispatcher._inbox.put(done.set)
            assert done.wait(LIMIT_S)

    def ask(self, model: str = "a", *, resident_only: bool = False) -> Ticket:
        self.asked += 1
        name = f"r{self.asked}"
        generate = Generate(request_id=name, messages=[["user", "x"]], sampling={})
        ticket = ticket_of(name, model, None if resident_only else generate)
        self.dispatcher.submit(ticket)
        self.settle()
        return ticket

    def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.settle()

    def load(self, model: str = "a", slots: int = 2) -> FakeWorker:
        """`model`, resident and idle."""
        self.ask(model, resident_only=True)
        worker = self.holder(model)
        worker.has_loaded(slots)
        self.settle()
        return worker

    def holder(self, model: str) -> FakeWorker:
        return next(
            worker
            for worker in reversed(self.works.workers)
            if not worker.gone and any(load.model == model for load in worker.received(Load))
        )

    def states(self) -> list[WorkerState]:
        return [record.state for record in self.dispatcher.records()]

    def close(self) -> None:
        self.works.polite = True
        for worker in self.works.workers:
            worker.polite = True
        closer = threading.Thread(target=self.dispatcher.shutdown, args=(0.0,))
        closer.start()
        self.works.close()
        closer.join(LIMIT_S)
        assert not closer.is_alive()
        self.breakers.close()


def ticket_of(name: str, model: str, generate: Generate | None = None, **more: Any) -> Ticket:
    """A request with one agent to try."""
    attempt = Attempt(model=model, generate=generate, agent="agent", breaker="agent")
    return Ticket(request_id=name, attempts=(attempt,), **more)


def heard(ticket: Ticket) -> list[Any]:
    """Everything on the ticket now, but where it stands in the queue."""
    return [message for message in _taken(ticket) if not isinstance(message, Queued)]


def stood(ticket: Ticket) -> list[tuple[int, float | None]]:
    """The places it was told it has, and the waits."""
    return [(said.position, said.wait_s) for said in _taken(ticket) if isinstance(said, Queued)]


def _taken(ticket: Ticket) -> list[Any]:
    out = []
    while not ticket.messages.empty():
        out.append(ticket.get(0.0))
    return out


def kinds(ticket: Ticket) -> list[str]:
    return [type(message).__name__ for message in heard(ticket)]


def error_of(ticket: Ticket) -> Any:
    """The error the ticket ended with, and nothing after it."""
    last = heard(ticket)[-1]
    assert isinstance(last, Ended)
    return last.error


def job(ticket: Ticket | str) -> str:
    """What the worker calls the attempt under way."""
    return f"{ticket}.0" if isinstance(ticket, str) else f"{ticket.request_id}.{ticket.index}"


def done(ticket: Ticket | str) -> Done:
    return Done(
        request_id=job(ticket),
        finish_reason="stop",
        prompt_tokens=1,
        cached_tokens=0,
        completion_tokens=2,
        prefill_s=0.0,
        decode_s=0.1,
    )
