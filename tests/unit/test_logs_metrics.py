"""What ORION writes to its log and counts for Prometheus."""

from __future__ import annotations

import io
import json

import pytest
from prometheus_client.parser import text_string_to_metric_families

from orion.logs import make_log
from orion.metrics import Metrics
from orion.settings import LogFormat, LogSettings
from orion.types import Timings, Usage


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


class Broken(io.StringIO):
    """A stream whose disk is full."""

    def write(self, text: str) -> int:
        raise OSError(28, "No space left on device")


class Ascii(io.TextIOWrapper):
    """A stream that knows few characters."""

    def __init__(self) -> None:
        super().__init__(io.BytesIO(), encoding="ascii")


def logged(stream: io.StringIO, level: str = "INFO", form: str = "auto") -> object:
    """A logger that writes to `stream`."""
    return make_log(LogSettings(level=level, format=LogFormat(form)), stream)


class TestLog:
    def test_a_line_is_one_json_document(self):
        """With level, time and what was given."""
        stream = io.StringIO()

        logged(stream).info("request", outcome="success", states=["idle"], text_chars=None)

        (line,) = stream.getvalue().splitlines()
        entry = json.loads(line)
        assert entry["event"] == "request"
        assert entry["level"] == "info"
        assert entry["states"] == ["idle"]
        assert entry["timestamp"].endswith("Z")

    def test_a_terminal_gets_text(self):
        """For people."""
        stream = Terminal()

        logged(stream).info("engine.started", profile="cpu")

        assert "engine.started" in stream.getvalue()
        with pytest.raises(json.JSONDecodeError):
            json.loads(stream.getvalue())

    @pytest.mark.parametrize(("form", "is_json"), [("json", True), ("text", False)])
    def test_the_form_can_be_chosen(self, form, is_json):
        """Whatever the stream is."""
        stream = Terminal() if is_json else io.StringIO()

        logged(stream, form=form).info("hello")

        assert stream.getvalue().startswith("{") is is_json

    def test_what_is_below_the_level_is_dropped(self):
        """And the rest is kept."""
        stream = io.StringIO()
        log = logged(stream, level="WARNING")

        log.debug("a")
        log.info("b")
        log.warning("c")
        log.error("d")

        assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["c", "d"]

    def test_an_exception_brings_its_traceback(self):
        """In the same line."""
        stream = io.StringIO()
        try:
            {}.popitem()
        except KeyError:
            logged(stream).exception("crashed")

        (line,) = stream.getvalue().splitlines()
        assert "KeyError: " in json.loads(line)["exception"]

    @pytest.mark.parametrize("form", ["json", "text"])
    def test_a_line_that_cannot_be_written_costs_the_line(self, form):
        """Full disk, closed stream, narrow encoding: the request goes on."""
        closed = io.StringIO()
        closed.close()

        for stream in (Broken(), closed, Ascii()):
            logged(stream, form=form).error("hé \ud800", detail="\ud800 日本")

    def test_it_speaks_on_standard_error(self, capsys):
        """Standard output belongs to the commands."""
        make_log(LogSettings(format=LogFormat.JSON)).info("hello")

        out, err = capsys.readouterr()
        assert out == ""
        assert json.loads(err)["event"] == "hello"


def samples(metrics: Metrics) -> dict[tuple[str, tuple[str, ...]], float]:
    """Sample name and label values, by label name → value, as a scraper reads them."""
    text = metrics.render().decode()
    return {
        (sample.name, tuple(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if not sample.name.endswith(("_created", "_bucket"))
    }


class TestMetrics:
    def test_a_finished_request_is_counted_and_timed(self):
        """Outcome, tokens and the parts of the time."""
        metrics = Metrics()
        timings = Timings(
            queue_s=0.1, load_s=2.0, ttft_s=2.5, tpot_s=0.02, total_s=4.0, start="cold"
        )
        usage = Usage(prompt_tokens=12, cached_tokens=4, completion_tokens=30)

        metrics.ended(agent="code-agent", outcome="success", timings=timings, usage=usage)

        seen = samples(metrics)
        assert seen["orion_requests_total", ("code-agent", "success")] == 1
        assert seen["orion_tokens_total", ("prompt",)] == 12
        assert seen["orion_tokens_total", ("prompt_cached",)] == 4
        assert seen["orion_tokens_total", ("completion",)] == 30
        assert seen["orion_ttft_seconds_sum", ("cold",)] == 2.5
        assert seen["orion_tpot_seconds_count", ()] == 1
        assert seen["orion_queue_seconds_sum", ()] == pytest.approx(0.1)
        assert seen["orion_load_seconds_count", ()] == 1

    def test_a_request_without_text_has_no_time_to_first_text(self):
        """It is counted; the histograms are left alone."""
        metrics = Metrics()

        metrics.ended(agent="none", outcome="overloaded", timings=Timings(), usage=Usage())

        seen = samples(metrics)
        assert seen["orion_requests_total", ("none", "overloaded")] == 1
        assert ("orion_ttft_seconds_count", ("warm",)) not in seen
        assert seen["orion_queue_seconds_count", ()] == 0

    def test_a_warm_request_adds_nothing_to_the_loads(self):
        """A load of no length is none."""
        metrics = Metrics()

        metrics.ended(
            agent="code-agent", outcome="success", timings=Timings(ttft_s=0.1), usage=Usage()
        )

        seen = samples(metrics)
        assert seen["orion_ttft_seconds_count", ("warm",)] == 1
        assert seen["orion_load_seconds_count", ()] == 0
        assert seen["orion_tpot_seconds_count", ()] == 0

    def test_routes_are_counted_with_their_doubts(self):
        """An abstention is told apart."""
        metrics = Metrics()

        metrics.routed("code-agent", abstained=False)
        metrics.routed("conversation-agent", abstained=True)

        seen = samples(metrics)
        assert seen["orion_router_decisions_total", ("false", "code-agent")] == 1
        assert seen["orion_router_decisions_total", ("true", "conversation-agent")] == 1

    def test_a_gauge_is_read_at_each_scrape(self):
        """Never a stale copy."""
        metrics = Metrics()
        values = iter([1.0, 5.0])
        metrics.gauge("orion_things", "Things.", lambda: next(values))

        assert samples(metrics)["orion_things", ()] == 1.0
        assert samples(metrics)["orion_things", ()] == 5.0

    def test_two_engines_do_not_share_their_counts(self):
        """Each has a registry of its own."""
        first, second = Metrics(), Metrics()

        first.routed("code-agent", abstained=False)

        assert ("orion_router_decisions_total", ("false", "code-agent")) not in samples(second)
