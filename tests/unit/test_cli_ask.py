"""`orion ask` and `orion route` on a real engine whose model is scripted."""

from __future__ import annotations

import json

import pytest

from orion.cli.asking import show
from orion.cli.output import Console
from orion.errors import GenerationError
from orion.registry import AGENT_IDS
from tests.fakes.engine import Call, falling_back
from tests.unit.cli_support import Orion, Terminal

ANSWER_KEYS = {
    "text", "agent", "model", "runtime", "finish_reason", "route", "timings", "usage", "states",
    "cached", "fallback_from",
}  # fmt: skip
ROUTE_KEYS = {"text", "agent", "confidence", "scores", "abstained", "reason", "latency_ms"}


@pytest.fixture
def orion(tmp_path, monkeypatch, capsys) -> Orion:
    """Runs commands."""
    return Orion(tmp_path / "home", monkeypatch, capsys)


class TestAsk:
    def test_prints_the_answer_and_nothing_else(self, orion):
        """Text on stdout, silence on stderr."""
        ran = orion("ask", "say tokens=3")

        assert ran.status == 0
        assert ran.out.split() == ["t0", "t1", "t2"]
        assert ran.out.endswith("\n")
        assert ran.err == ""

    def test_json_is_the_whole_answer(self, orion):
        """The keys of the contract, in one document."""
        ran = orion("ask", "say tokens=3", "--json")

        assert ran.status == 0
        assert set(ran.document) >= ANSWER_KEYS
        assert ran.document["usage"]["completion_tokens"] == 3
        assert ran.document["states"][-1] == "success"
        assert ran.err == ""

    def test_dash_reads_the_message_from_stdin(self, orion):
        """Without the last line end."""
        orion.stdin(b"caf\xc3\xa9\n")

        assert orion("ask", "-").out.strip() == "echo: café"

    @pytest.mark.parametrize(
        ("content", "code"),
        [(b"\xff\xfe", "invalid_query"), (b"", "invalid_query"), (b"x" * 2_000_001, "too_large")],
    )
    def test_odd_stdin_is_refused(self, orion, content, code):
        """Not text, empty, endless."""
        orion.stdin(content)

        ran = orion("ask", "-")

        assert ran.status == 1
        assert ran.error_line.endswith(f"[{code}]")

    def test_options_reach_the_model(self, orion):
        """Agent and length."""
        ran = orion("ask", "say tokens=9", "--agent", "code-agent", "--max-tokens", "2", "--json")

        assert ran.document["agent"] == "code-agent"
        assert ran.document["finish_reason"] == "length"
        assert ran.document["usage"]["completion_tokens"] == 2

    def test_every_option_is_taken(self, orion, tmp_path):
        """All at once."""
        history = tmp_path / "history.json"
        turns = [{"role": "user", "content": "one"}, {"role": "assistant", "content": "two"}]
        history.write_text(json.dumps(turns))

        ran = orion(
            "ask", "hello", "--temperature", "0.1", "--top-p", "0.5", "--seed", "7",
            "--system-prompt", "be kind", "--history", history, "--json",
        )  # fmt: skip

        assert ran.status == 0
        assert ran.document["usage"]["prompt_tokens"] == 5

    @pytest.mark.parametrize(
        "arguments",
        [
            ["hi", "--temperature", "99"],
            ["hi", "--max-tokens", "-1"],
            ["hi", "--agent", "nobody"],
            ["   "],
            ["\ud800"],
        ],
    )
    def test_bad_values_are_refused_with_a_code(self, orion, arguments):
        """By the engine's own rules."""
        ran = orion("ask", *arguments)

        assert ran.status == 1
        assert ran.out == ""
        assert ran.error_line.endswith(("[invalid_query]", "[unknown_agent]"))

    @pytest.mark.parametrize(
        "content", [b"", b"{", b"{}", b"5", b"\xff", b'[{"role": "root", "content": "x"}]', b"[5]"]
    )
    def test_odd_history_is_refused(self, orion, tmp_path, content):
        """No JSON, no list, no messages."""
        history = tmp_path / "history.json"
        history.write_bytes(content)

        ran = orion("ask", "hi", "--history", history)

        assert ran.status == 1
        assert ran.error_line.endswith("[invalid_query]")

    def test_missing_history_is_refused(self, orion, tmp_path):
        """With the name of the file, not its folder."""
        ran = orion("ask", "hi", "--history", tmp_path / "absent.json")

        assert ran.status == 1
        assert "absent.json cannot be read" in ran.error_line
        assert str(tmp_path) not in ran.error_line

    def test_failure_after_text_keeps_the_text(self, orion):
        """What came is printed; the line says why it ends."""
        ran = orion("ask", "say tokens=5 fail=2")

        assert ran.status == 1
        assert ran.out.split() == ["t0", "t1"]
        assert ran.error_line.endswith("[generation_failed]")

    def test_broken_registry_is_told(self, orion, tmp_path):
        """Before anything starts."""
        orion.set(REGISTRY=tmp_path / "absent.json")

        ran = orion("ask", "hi")

        assert ran.status == 1
        assert ran.error_line.endswith("[bad_registry]")

    def test_debug_logs_to_stderr(self, orion):
        """And stdout stays what it was."""
        ran = orion("ask", "say tokens=1", "--debug")

        assert ran.out.split() == ["t0"]
        assert all(json.loads(line)["event"] for line in ran.err.splitlines())
        assert ran.err

    def test_log_level_asked_for_is_kept(self, orion):
        """The variable wins over the command's quiet."""
        orion.set(LOG__LEVEL="INFO")

        assert "engine.started" in orion("ask", "say tokens=1").err

    def test_terminal_gets_a_summary_and_no_escape_sequences(self, orion, monkeypatch):
        """Who answered and how fast, below the text."""
        out, err = Terminal(), Terminal()
        monkeypatch.setattr("sys.stdout", out)
        monkeypatch.setattr("sys.stderr", err)

        orion("ask", "bell \x1b[31m", "--max-tokens", "1")

        assert "\x1b" not in out.getvalue()
        assert "conversation-agent · smollm2-135m-instruct · " in err.getvalue()
        assert "cut at --max-tokens" in err.getvalue()

    def test_a_fallback_is_said_beside_the_answer(self, capsys):
        """The text alone on stdout, who answered in whose place on stderr."""
        call = Call("hi", {"request_id": "r"})

        show(falling_back("code-agent", "creative-agent", "A poem.")(call), Console())

        said = capsys.readouterr()
        assert said.out == "A poem.\n"
        assert "code-agent could not answer; creative-agent did in its place" in said.err

    def test_stream_without_an_end_is_an_error(self):
        """An engine that forgets its last event does not pass for an answer."""
        with pytest.raises(GenerationError):
            show(iter(()), Console())


class TestRoute:
    def test_one_message_is_one_document(self, orion):
        """The keys of the contract."""
        ran = orion("route", "Write a Python function", "--json")

        assert ran.status == 0
        assert set(ran.document) >= ROUTE_KEYS
        assert ran.document["agent"] == "code-agent"
        assert set(ran.document["scores"]) == set(AGENT_IDS)

    def test_several_messages_are_one_list_in_order(self, orion):
        """Still one document."""
        ran = orion("route", "one", "two", "--json")

        assert [row["text"] for row in ran.document] == ["one", "two"]

    def test_people_get_a_line_each(self, orion):
        """Agent, confidence, reason."""
        ran = orion("route", "Write a Python function", "hello")

        assert [line.split()[0] for line in ran.out.splitlines()] == [
            "code-agent",
            "conversation-agent",
        ]

    def test_empty_message_is_refused(self, orion):
        """As everywhere."""
        ran = orion("route", "")

        assert ran.status == 1
        assert ran.error_line.endswith("[invalid_query]")

    def test_file_gives_a_line_for_each_line_in_order(self, orion, tmp_path):
        """Nothing else on stdout; blank lines are passed over."""
        file = tmp_path / "in.jsonl"
        texts = ["hello", "écris un poème", "line\nbreak"]
        file.write_text("\n\n".join(json.dumps({"text": text}) for text in texts))

        ran = orion("route", "--file", file)

        assert ran.status == 0
        assert [row["text"] for row in ran.rows] == texts
        assert all(set(row) >= ROUTE_KEYS for row in ran.rows)
        assert ran.err == ""

    def test_broken_lines_are_told_in_their_place(self, orion):
        """The others are routed; the status says that some were not."""
        broken = [
            b"{",
            b"[]",
            b'{"text": 5}',
            b'{"txt": "x"}',
            b"\xff",
            b'{"text": ""}',
            b"[" * 9999,
        ]
        orion.stdin(b"\n".join([b'{"text": "first"}', *broken, b'{"text": "last"}', b""]))

        ran = orion("route", "--file", "-")

        assert ran.status == 1
        assert ran.rows[0]["text"] == "first"
        assert ran.rows[-1]["text"] == "last"
        assert [row["item"] for row in ran.rows[1:-1]] == list(range(2, len(broken) + 2))
        assert {row["error"]["code"] for row in ran.rows[1:-1]} == {"invalid_query"}
        assert f"{len(broken)} of {len(broken) + 2} lines" in ran.error_line

    def test_line_too_long_is_passed_over(self, orion):
        """It costs no memory, and only itself."""
        endless = b'{"text": "' + b"x" * 5_000_000 + b'"}'
        orion.stdin(b"\n".join([endless, b'{"text": "last"}']))

        ran = orion("route", "--file", "-")

        assert [row.get("text") for row in ran.rows] == [None, "last"]
        assert ran.rows[0]["error"]["code"] == "too_large"

    def test_missing_file_is_refused(self, orion, tmp_path):
        """Before an engine starts."""
        ran = orion("route", "--file", tmp_path / "absent.jsonl")

        assert ran.status == 1
        assert "absent.jsonl" in ran.error_line
