"""pybreaker runs no work in ORION: permits do."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from pybreaker import CircuitBreaker

from orion.breakers.circuit import Circuit
from orion.errors import BreakerMisuseError

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "orion"
BANNED = {"call", "calling", "call_async"}
KEPT = {
    "CBStateType", "CircuitBreaker", "CircuitBreakerListener", "CircuitMemoryStorage",
    "STATE_CLOSED", "STATE_HALF_OPEN", "STATE_OPEN",
}  # fmt: skip


def findings(source: str, where: str) -> list[str]:
    """What runs work through pybreaker, or could: `file:line: what`."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and node.attr in BANNED:
            found.append((node.lineno, f".{node.attr}"))
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found += [
                (decorator.lineno, f"@{name}")
                for decorator in node.decorator_list
                if "breaker" in (name := ast.unparse(decorator).lower())
            ]
        elif isinstance(node, ast.Import):
            found += [
                (node.lineno, alias.name)
                for alias in node.names
                if alias.name.startswith("pybreaker")
            ]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("pybreaker"):
            inside = where.startswith("orion/breakers/")
            names = {alias.name for alias in node.names} - (KEPT if inside else set())
            found += [(node.lineno, f"pybreaker.{name}") for name in sorted(names)]
    return [f"{where}:{line}: {what}" for line, what in sorted(found)]


class TestBan:
    def test_no_work_runs_through_pybreaker(self):
        """Neither by a call nor as a decorator; and only the breakers know it at all."""
        found = [
            line
            for path in sorted(PACKAGE.rglob("*.py"))
            for line in findings(
                path.read_text(encoding="utf-8"), path.relative_to(ROOT).as_posix()
            )
        ]

        assert found == []

    @pytest.mark.parametrize(
        ("source", "what"),
        [
            ("breaker.call(work)", ".call"),
            ("with self._circuit.calling(): pass", ".calling"),
            ("run = breaker.call_async", ".call_async"),
            ("@breaker\ndef work(): pass", "@breaker"),
            ("@self.breakers.get('a')\nasync def work(): pass", "@self.breakers.get('a')"),
            ("import pybreaker", "pybreaker"),
            ("from pybreaker import CircuitBreaker", "pybreaker.CircuitBreaker"),
        ],
    )
    def test_each_way_of_doing_so_is_seen(self, source, what):
        """The walk finds what it looks for."""
        assert [line.split(": ")[1] for line in findings(source, "orion/engine/x.py")] == [what]

    def test_the_breakers_take_types_only(self):
        """States, storage and listeners; nothing that redis or tornado would be asked for."""
        where = "orion/breakers/x.py"

        assert findings("from pybreaker import CircuitMemoryStorage", where) == []
        assert findings("from pybreaker import CircuitRedisStorage", where) != []

    @pytest.mark.parametrize(
        ("use", "what"),
        [
            (lambda circuit: circuit.call(print), "call"),
            (lambda circuit: circuit.calling(), "calling"),
            (lambda circuit: circuit.call_async(print), "call_async"),
            (lambda circuit: circuit(print), "decorator"),
            (lambda circuit: circuit.open(), "open"),
            (lambda circuit: circuit.half_open(), "half_open"),
            (lambda circuit: circuit.close(), "close"),
            (lambda circuit: setattr(circuit, "state", "open"), "state"),
        ],
    )
    def test_what_we_keep_of_it_refuses_to_work(self, use, what):
        """Whoever gets hold of the circuit can run nothing and change nothing through it."""
        circuit = Circuit("generate:a")

        with pytest.raises(BreakerMisuseError) as refused:
            use(circuit)
        assert str(refused.value) == (
            "The breaker generate:a runs no work and changes no state through pybreaker's "
            f"`{what}`."
        )
        assert isinstance(circuit, CircuitBreaker)
        assert (circuit.current_state, circuit.state.name) == ("closed", "closed")


class TestClock:
    def test_the_breakers_know_no_wall_clock(self):
        """`time` and `datetime` are not even imported."""
        imported = {
            alias.name if isinstance(node, ast.Import) else node.module
            for path in (PACKAGE / "breakers").rglob("*.py")
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Import | ast.ImportFrom)
            for alias in node.names
        }

        assert imported & {"time", "datetime"} == set()
