"""The arithmetic and the words of the benchmarks; what they measure is for `orion bench`."""

from __future__ import annotations

import json

import pytest

from benchmarks.__main__ import SCENARIOS, main
from benchmarks.app_process import free_port
from benchmarks.figures import (
    Compared,
    Figure,
    Goal,
    JudgedBy,
    Spread,
    any_missed,
    in_short,
    notes,
    table,
)
from benchmarks.process import BenchmarkError, Child
from benchmarks.stream_client import Streamed


def figure(**given):
    """A figure of two sides and three rounds; `given` replaces fields."""
    base = {
        "scenario": "decode",
        "name": "tokens/s",
        "unit": "tok/s",
        "measured": (90.0, 40.0, 100.0),
        "baseline": (100.0, 50.0, 100.0),
        "baseline_name": "raw",
        "compared": Compared.RATIO,
        "goal": Goal(bound=0.9, at_least=True),
    }
    return Figure(**{**base, **given})


class TestSpread:
    def test_it_is_the_least_the_middle_and_the_largest(self):
        """The median of an even number of samples lies between the two in the middle."""
        assert Spread.of([4.0, 1.0, 3.0, 2.0]) == Spread(low=1.0, middle=2.5, high=4.0)

    def test_no_samples_have_no_spread(self):
        """A figure without a round is a mistake, not a zero."""
        with pytest.raises(ValueError, match="no samples"):
            Spread.of([])

    def test_equal_samples_are_written_once(self):
        """No pretence of a spread where there is none."""
        assert str(Spread.of([0.0, 0.0])) == "0"
        assert str(Spread.of([1.0, 2.5, 30.0])) == "1 … 2.50 … 30"

    @pytest.mark.parametrize(
        ("value", "text"),
        [(0.9123, "0.91"), (12.34, "12.3"), (123.4, "123"), (-0.5, "-0.50"), (7.0, "7")],
    )
    def test_numbers_have_about_three_digits(self, value, text):
        """Enough to compare, not more than was measured."""
        assert in_short(value) == text


class TestFigure:
    def test_a_ratio_is_made_round_by_round(self):
        """A slow round of the machine slows both sides and drops out."""
        assert figure().results == pytest.approx((0.9, 0.8, 1.0))

    def test_a_difference_is_made_round_by_round(self):
        """What the product adds, in the unit of the samples."""
        assert figure(compared=Compared.DIFFERENCE).results == (-10.0, -10.0, 0.0)

    def test_a_figure_without_a_baseline_is_its_own_result(self):
        """Memory is compared with its goal alone."""
        assert figure(compared=Compared.ALONE, baseline=()).results == (90.0, 40.0, 100.0)

    def test_sides_with_different_numbers_of_rounds_are_refused(self):
        """Nothing is silently left out of a pair."""
        with pytest.raises(ValueError, match="shorter"):
            _ = figure(baseline=(1.0,)).results

    def test_the_median_has_to_meet_the_goal(self):
        """One bad round does not miss it."""
        assert figure().met is True
        assert figure(goal=Goal(bound=0.95, at_least=True)).met is False

    def test_every_round_has_to_meet_the_goal_where_asked(self):
        """A leak in one cycle is a leak."""
        sizes = {"compared": Compared.ALONE, "baseline": (), "goal": Goal(bound=95.0)}

        assert figure(**sizes).met is True
        assert figure(**sizes, judged_by=JudgedBy.EVERY).met is False

    def test_without_a_goal_there_is_no_verdict(self):
        """Some figures only explain others."""
        assert figure(goal=None).met is None

    def test_the_bound_itself_is_admitted(self):
        """Both kinds of goals include their bound."""
        assert Goal(bound=0.9, at_least=True).admits(0.9)
        assert Goal(bound=25.0).admits(25.0)
        assert not Goal(bound=25.0).admits(25.1)


class TestTable:
    def test_it_says_what_was_measured_against_what_and_whether_that_is_enough(self):
        """One line per figure, in words a person can read."""
        lines = table([figure()]).splitlines()

        assert lines[0].split() == ["figure", "measured", "baseline", "result", "goal", "verdict"]
        assert "decode: tokens/s" in lines[2]
        assert "40 … 90 … 100 tok/s" in lines[2]
        assert "50 … 100 … 100 tok/s, raw" in lines[2]
        assert "÷ 0.80 … 0.90 … 1" in lines[2]
        assert lines[2].endswith("≥ 0.9  met")

    def test_its_columns_are_aligned(self):
        """The verdicts stand below their head."""
        lines = table([figure(), figure(name="another, longer", goal=None)]).splitlines()

        column = lines[0].index("verdict")
        assert [line[column:] for line in lines[2:]] == ["met", "shown"]

    def test_a_difference_has_a_unit_and_a_ratio_has_none(self):
        """`÷ 0.9` and `- 12 ms`."""
        text = table([figure(compared=Compared.DIFFERENCE, unit="ms")])

        assert "- -10 … -10 … 0 ms" in text

    def test_notes_follow_for_the_figures_that_have_one(self):
        """What the numbers alone do not say."""
        assert notes([figure(), figure(note="as warm as can be")]) == (
            "decode: tokens/s: as warm as can be"
        )


class TestDocument:
    def test_it_holds_every_sample_and_the_verdict(self):
        """A program can do its own statistics."""
        document = json.loads(json.dumps(figure().as_dict()))

        assert document["measured"]["samples"] == [90.0, 40.0, 100.0]
        assert document["baseline"]["median"] == 100.0
        assert document["result"]["median"] == pytest.approx(0.9)
        assert document["goal"] == "≥ 0.9"
        assert document["met"] is True

    def test_a_figure_alone_has_no_baseline(self):
        """Null, not an empty list."""
        assert figure(compared=Compared.ALONE, baseline=()).as_dict()["baseline"] is None


class TestStrict:
    def test_only_a_missed_goal_counts_as_missed(self):
        """Figures without a goal fail nothing."""
        assert not any_missed([figure(), figure(goal=None)])
        assert any_missed([figure(), figure(goal=Goal(bound=2.0, at_least=True))])


class TestCommandLine:
    def test_it_knows_every_scenario(self):
        """Each with at least five rounds by default."""
        known = {"decode", "ttft", "cold", "memory"}
        assert set(SCENARIOS) == known | {"burst", "streams", "switch", "turns", "scheduler"}
        assert all(rounds >= 5 for _, rounds in SCENARIOS.values())

    @pytest.mark.parametrize("argv", [["--scenario", "nonsense"], ["--runs", "0"], ["--runs", "x"]])
    def test_bad_usage_ends_with_status_2(self, argv, capsys):
        """One line on standard error, nothing measured."""
        with pytest.raises(SystemExit) as left:
            main(argv)

        assert left.value.code == 2
        assert "error" in capsys.readouterr().err

    def test_what_cannot_be_measured_ends_with_status_1_and_a_reason(
        self, tmp_path, monkeypatch, capsys
    ):
        """A missing registry is told, without a traceback."""
        monkeypatch.setenv("ORION_REGISTRY", str(tmp_path / "none.json"))

        status = main(["--scenario", "ttft"])

        assert status == 1
        assert "bench: error:" in capsys.readouterr().err


class TestStreamed:
    def test_speed_counts_the_tokens_after_the_first(self):
        """The first token's time is the time to first token."""
        streamed = Streamed(
            sent_s=10.0, first_s=10.5, last_s=12.5, usage={"completion_tokens": 201}
        )

        assert streamed.ttft_s == 0.5
        assert streamed.tokens_per_s == 100.0


@pytest.mark.process
class TestChild:
    def test_its_first_byte_and_its_end_are_timed_from_its_start(self):
        """The first byte comes before the end."""
        with Child("-c", "print('x', flush=True)") as child:
            first_s = child.first_byte_s()

            assert 0 < first_s <= child.finished_s(30.0)

    def test_a_failure_shows_the_end_of_its_standard_error(self):
        """So that a broken baseline explains itself."""
        with (
            Child("-c", "import sys; sys.exit('no such weights')") as child,
            pytest.raises(BenchmarkError, match="no such weights"),
        ):
            child.finished_s(30.0)

    def test_one_that_says_nothing_is_a_failure(self):
        """Waiting for a first byte that cannot come ends."""
        with Child("-c", "") as child, pytest.raises(BenchmarkError, match="wrote nothing"):
            child.first_byte_s()

    def test_leaving_the_context_ends_it(self):
        """No process is left behind."""
        with Child("-c", "input()", talks=True) as child:
            assert child.process.poll() is None

        assert child.process.poll() is not None

    def test_a_free_port_is_free(self):
        """Two apps of one run do not meet."""
        assert 1024 < free_port() < 65536
