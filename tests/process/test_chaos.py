"""Every chaos scenario in small: what it counts holds; what it times is for `make chaos`."""

from __future__ import annotations

import pytest

from benchmarks.chaos.__main__ import SCENARIOS, main, run_one
from benchmarks.chaos.fate import Fate, due, fate_of_reply
from benchmarks.chaos.ground import Journal
from benchmarks.chaos.health_watch import ALL, NONE, HealthWatch
from benchmarks.chaos.http_client import Reply
from benchmarks.chaos.waiting import percentile, slope, until

SEED = 20
MARKED = {"partial": True}


class TestScenario:
    @pytest.mark.process
    @pytest.mark.timeout(180)
    @pytest.mark.parametrize("name", SCENARIOS)
    def test_what_it_counts_is_as_promised(self, name: str) -> None:
        """A few faults of each kind; a row that is missed shows its details."""
        rows = run_one(name, smoke=True, seed=SEED)

        assert rows
        missed = [row.as_dict() for row in rows if not row.met and not row.details.get("timing")]
        assert not missed


class TestJudge:
    @pytest.mark.parametrize(
        ("given", "fate"),
        [
            ({"text": due(3), "ended": True}, Fate.WHOLE),
            ({"text": due(3), "ended": True, "orion": {"fallback_from": "x"}}, Fate.FALLBACK),
            ({"text": "", "ended": True}, Fate.WRONG),
            ({"text": due(2), "ended": True}, Fate.WRONG),
            ({"text": due(4), "ended": True}, Fate.WRONG),
            ({"text": "t0 t0 t1 ", "ended": True}, Fate.WRONG),
            ({"text": "t0 t2 ", "code": "worker_died", "orion": MARKED}, Fate.WRONG),
            ({"text": "t0 ", "code": "worker_died", "orion": MARKED}, Fate.PARTIAL),
            ({"text": "t0 ", "code": "worker_died"}, Fate.UNKNOWN),
            ({"text": "t0 ", "code": "no_such_code", "orion": MARKED}, Fate.UNKNOWN),
            ({"text": "t0 "}, Fate.TORN),
            ({"text": "t0 ", "timed_out": True}, Fate.HUNG),
            ({"status": 503, "code": "overloaded"}, Fate.REFUSED),
            ({"status": 503, "code": "backlog"}, Fate.REFUSED),
            ({"status": 503, "code": "too_late"}, Fate.REFUSED),
            ({"status": 503, "code": "no_room"}, Fate.REFUSED),
            ({"status": 429, "code": "too_many_requests"}, Fate.REFUSED),
            ({"status": 422, "code": "quarantined"}, Fate.REFUSED),
            ({"status": 500, "code": "worker_died"}, Fate.FAILED),
            ({"status": 503, "code": ""}, Fate.UNKNOWN),
            ({"status": 0}, Fate.TORN),
        ],
    )
    def test_an_answer_is_called_what_it_is(self, given: dict, fate: Fate) -> None:
        """Three tokens are due; nothing that went wrong passes for an answer."""
        assert fate_of_reply(Reply(**{"status": 200, **given}), 3) is fate

    @pytest.mark.parametrize(
        ("text", "fate"),
        [("t0 twice ", Fate.PARTIAL), ("t0 twice twice ", Fate.WRONG), ("twice t0 ", Fate.WRONG)],
    )
    def test_a_lie_that_was_scripted_is_told_once_and_last(self, text: str, fate: Fate) -> None:
        """What the worker invents is no proof against the engine; hearing it twice is."""
        reply = Reply(status=200, text=text, code="worker_died", orion=MARKED)

        assert fate_of_reply(reply, 3, lies=True) is fate

    def test_health_that_says_the_wrong_thing_is_timed(self) -> None:
        """From the moment the truth changed to the moment it was told, or to the last look."""
        said = ["ready"]
        with HealthWatch(lambda: said[0]) as watch:
            watch.expect(ALL)
            assert until(lambda: watch.looks >= 2, 10.0) < 10.0
            assert watch.wrong_s == 0.0

            watch.expect(NONE)
            assert until(lambda: watch.wrong_s > 0.2, 10.0) < 10.0
            said[0] = "down"
            looks = watch.looks
            assert until(lambda: watch.looks > looks + 1, 10.0) < 10.0
            wrong_s = watch.wrong_s
            assert until(lambda: watch.looks > looks + 3, 10.0) < 10.0

        assert watch.wrong_s == wrong_s

    def test_a_crash_of_the_product_is_seen_in_its_log(self) -> None:
        """The death of a worker is no crash, whatever it wrote."""
        lines = '{"event": "worker.died", "detail": "Traceback"}\n{"event": "request.crashed"}\n'

        assert len(Journal(lines).bugs) == 1

    def test_percentiles_and_slopes_are_those_of_the_books(self) -> None:
        """The smallest sample that so many do not exceed; least squares."""
        assert percentile([float(n) for n in range(1, 101)], 99) == 99.0
        assert percentile([5.0, 1.0], 50) == 1.0
        assert slope([(0.0, 1.0), (1.0, 3.0), (2.0, 5.0)]) == pytest.approx(2.0)
        assert slope([(1.0, 1.0)]) == 0.0


class TestCommandLine:
    def test_it_prints_one_table_and_the_seed(self, capsys: pytest.CaptureFixture[str]) -> None:
        """The seed is what a run is repeated with."""
        status = main(["--scenario", "lifecycle", "--smoke", "--seed", "5"])

        out = capsys.readouterr().out
        assert status == 0
        assert out.startswith("figure")
        assert "G23" in out
        assert "seed 5" in out

    @pytest.mark.parametrize("argv", [["--scenario", "nonsense"], ["--seed", "x"]])
    def test_bad_usage_ends_with_status_2(
        self, argv: list[str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Nothing is struck."""
        with pytest.raises(SystemExit) as left:
            main(argv)

        assert left.value.code == 2
        assert "error" in capsys.readouterr().err
