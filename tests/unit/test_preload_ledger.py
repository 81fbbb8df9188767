"""When predictions pay, and when they stop."""

from __future__ import annotations

from typing import Any

from orion.preload import Kind, Ledger, Prediction

WINDOW = 8


def prediction(**given: Any) -> Prediction:
    base: dict[str, Any] = {
        "kind": Kind.TRANSITION,
        "model": "next",
        "kept": frozenset({"last"}),
        "began_s": 0.0,
    }
    return Prediction(**{**base, **given})


def judge(ledger: Ledger, asked: str, times: int, **given: Any) -> None:
    for _ in range(times):
        ledger.made += 1
        ledger.judge(prediction(**given), asked)


class TestCounts:
    def test_every_prediction_has_one_outcome(self) -> None:
        """Right, the last model was right, neither, or open."""
        ledger = Ledger(Kind.DRAFT, window=WINDOW)
        ledger.made = 5

        for asked in ("next", "last", "other"):
            ledger.judge(prediction(), asked)

        assert (ledger.hits, ledger.kept, ledger.neither, ledger.open) == (1, 1, 1, 2)
        assert ledger.judged == 3

    def test_loads_are_used_or_wasted(self) -> None:
        """One that was given up before it was complete is no load."""
        ledger = Ledger(Kind.DRAFT, window=WINDOW)
        used, wasted, given_up = prediction(), prediction(), prediction()

        ledger.loaded(used)
        ledger.loaded(wasted)
        ledger.saved(used, 2.0)
        ledger.unused(wasted)
        ledger.unused(given_up)

        told = ledger.as_dict()
        assert (told["loads"], told["used"], told["wasted"], told["given_up"]) == (2, 1, 1, 1)
        assert told["saved_s"] == 2.0


class TestReview:
    def test_is_patient_at_first(self) -> None:
        """Less than half a window says nothing."""
        ledger = Ledger(Kind.DRAFT, window=WINDOW)
        judge(ledger, "last", WINDOW // 2 - 1, lost_s=5.0)

        assert not ledger.review()
        assert ledger.active

    def test_goes_off_when_it_loses_and_says_so_with_figures(self) -> None:
        """Seconds decide; the counts are told too."""
        ledger = Ledger(Kind.TRANSITION, window=WINDOW)
        judge(ledger, "next", 2, saved_s=1.0)
        judge(ledger, "last", 2, lost_s=1.5)

        assert ledger.review()
        assert not ledger.active
        assert ledger.reason == (
            "transition preload is off: of the last 4 predictions 2 were right, where keeping "
            "the last model was 2 times; it saved 2.0 s and lost 3.0 s"
        )

    def test_what_it_cost_counts_though_nobody_asks_for_anything(self) -> None:
        """Many type, and never send: others wait for what their drafts displaced."""
        ledger = Ledger(Kind.DRAFT, window=WINDOW)
        predictions = [prediction() for _ in range(WINDOW // 2)]
        for one in predictions:
            ledger.made += 1
            ledger.lost(one, 1.0)
            ledger.lost(one, 1.0)

        assert (ledger.judged, ledger.open) == (0, WINDOW // 2)
        assert ledger.review()
        assert not ledger.active

    def test_a_verdict_replaces_what_the_cost_alone_said(self) -> None:
        """One prediction counts once."""
        ledger = Ledger(Kind.DRAFT, window=WINDOW)
        one = prediction()
        ledger.lost(one, 1.0)
        ledger.judge(one, "next")

        latest = ledger.as_dict()["latest"]
        assert (latest["judged"], latest["hits"], latest["kept"]) == (1, 1, 0)

    def test_a_hit_that_was_given_up_saved_nothing(self) -> None:
        """So it is settled, and counts."""
        ledger = Ledger(Kind.DRAFT, window=WINDOW)
        for _ in range(WINDOW):
            one = prediction()
            ledger.unused(one)
            ledger.judge(one, "next")

        assert ledger.review()

    def test_goes_off_when_it_is_of_no_use(self) -> None:
        """Loads that nobody uses are no gain."""
        ledger = Ledger(Kind.DRAFT, window=WINDOW)
        judge(ledger, "other", WINDOW // 2)

        assert ledger.review()

    def test_stays_on_when_few_hits_save_much(self) -> None:
        """One slow load spared is worth three quick ones lost."""
        ledger = Ledger(Kind.DRAFT, window=WINDOW)
        judge(ledger, "next", 1, saved_s=10.0)
        judge(ledger, "last", 3, lost_s=1.0)

        assert not ledger.review()

    def test_a_hit_that_has_not_run_yet_is_not_held_against_it(self) -> None:
        """What it saved is known when it is granted."""
        ledger = Ledger(Kind.DRAFT, window=WINDOW)
        judge(ledger, "next", WINDOW)

        assert not ledger.review()

    def test_comes_back_after_a_whole_window_that_would_have_won(self) -> None:
        """And the reason goes."""
        ledger = Ledger(Kind.DRAFT, window=WINDOW)
        judge(ledger, "last", WINDOW, lost_s=1.0)
        ledger.review()
        judge(ledger, "next", WINDOW - 1, saved_s=1.0, silent=True)
        assert not ledger.review()

        judge(ledger, "next", 1, saved_s=1.0, silent=True)

        assert ledger.review()
        assert (ledger.active, ledger.reason, ledger.switches) == (True, "", 2)

    def test_a_little_better_is_not_enough_to_come_back(self) -> None:
        """Between the two bounds it stays as it is."""
        ledger = Ledger(Kind.DRAFT, window=WINDOW)
        judge(ledger, "last", WINDOW, lost_s=1.0)
        ledger.review()
        judge(ledger, "next", WINDOW // 2, saved_s=1.1, silent=True)
        judge(ledger, "last", WINDOW // 2, lost_s=1.0, silent=True)

        assert not ledger.review()
