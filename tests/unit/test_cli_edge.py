"""The command line's edge: usage, errors, exit statuses, closed pipes."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import pytest

from orion import __version__
from orion.cli import app, main
from orion.cli.output import Console, safe_for_terminal, table
from tests.unit.cli_support import Orion, Terminal

COMMANDS = ("ask", "route", "doctor", "models", "validate", "schema", "import-gguf", "bench")


@pytest.fixture
def orion(tmp_path, monkeypatch, capsys) -> Orion:
    """Runs commands."""
    return Orion(tmp_path / "home", monkeypatch, capsys)


class TestHelp:
    @pytest.mark.parametrize("command", COMMANDS)
    def test_every_command_has_help(self, orion, command):
        """It says what it does and knows `--json` and `--debug`."""
        ran = orion(command, "--help")

        assert ran.status == 0
        assert "--json" in ran.out
        assert "--debug" in ran.out
        assert ran.err == ""

    def test_lists_the_commands(self, orion):
        """All of this part."""
        ran = orion("--help")

        assert ran.status == 0
        for command in COMMANDS:
            assert f"  {command} " in ran.out

    def test_version(self, orion):
        """The package's."""
        assert orion("--version").out == f"orion {__version__}\n"

    def test_command_of_a_higher_layer_is_run_by_the_same_main(self, orion):
        """`serve` is added to `app` from above."""
        name = "added-by-a-test"
        app.command(name)(lambda: Console().line("here"))
        try:
            assert orion(name).out == "here\n"
        finally:
            app.registered_commands.pop()


class TestUsage:
    @pytest.mark.parametrize(
        "arguments",
        [
            ["bogus"],
            ["ask"],
            ["ask", "hi", "--bogus"],
            ["ask", "hi", "--max-tokens", "many"],
            ["ask", "hi", "--temperature", "warm"],
            ["route"],
            ["route", "hi", "--file", "x"],
            ["validate", "a", "b"],
            ["import-gguf", "a"],
        ],
    )
    def test_bad_usage_is_one_line_and_status_2(self, orion, arguments):
        """With where to look."""
        ran = orion(*arguments)

        assert ran.status == 2
        assert ran.out == ""
        assert ran.error_line.endswith("[usage]")
        assert "--help" in ran.error_line

    def test_bad_setting_names_its_variable(self, orion):
        """A variable is usage, too."""
        orion.set(QUEUE_MAX="-1")

        ran = orion("models")

        assert ran.status == 2
        assert "ORION_QUEUE_MAX" in ran.error_line

    def test_setting_that_is_no_json_is_told(self, orion):
        """A group of settings wants an object."""
        orion.set(WORKER="lots")

        ran = orion("models")

        assert ran.status == 2
        assert "ORION_" in ran.error_line


class TestErrors:
    def test_failure_is_one_line_and_status_1(self, orion, tmp_path):
        """The public message and the code."""
        ran = orion("validate", tmp_path / "absent.json")

        assert ran.status == 1
        assert ran.out == ""
        line = "orion: error: absent.json: $: the file is missing [bad_registry]"
        assert ran.error_line == line

    def test_failure_is_also_a_document_with_json(self, orion, tmp_path):
        """A script reads the code."""
        ran = orion("validate", "--json", tmp_path / "absent.json")

        assert ran.status == 1
        assert ran.document["error"]["code"] == "bad_registry"
        assert ran.error_line

    def test_debug_shows_where(self, orion, tmp_path):
        """The error itself comes out."""
        with pytest.raises(Exception, match="the file is missing"):
            main(["validate", "--debug", str(tmp_path / "absent.json")])

    def test_unforeseen_error_is_one_line(self, orion, monkeypatch):
        """No traceback, and how to get it."""
        monkeypatch.setattr("sys.stdout", _Failing(OSError(28, "No space left\non device")))

        ran = orion("schema")

        assert ran.status == 1
        assert "No space left on device" in ran.error_line
        assert "--debug" in ran.error_line

    def test_unforeseen_error_comes_out_with_debug(self, orion, monkeypatch):
        """For whoever repairs it."""
        monkeypatch.setattr("sys.stdout", _Failing(OSError(28, "No space left")))

        with pytest.raises(OSError, match="No space"):
            main(["schema", "--debug"])

    def test_interrupt_is_status_130(self, orion, monkeypatch):
        """Ctrl-C is no error."""
        monkeypatch.setattr("sys.stdout", _Failing(KeyboardInterrupt()))

        assert orion("schema").status == 130

    def test_closed_pipe_is_quiet(self, orion, monkeypatch, tmp_path):
        """`orion schema | head -1`."""
        reader, writer = os.pipe()
        os.close(reader)
        with os.fdopen(writer, "w") as stream:
            monkeypatch.setattr("sys.stdout", stream)

            ran = orion("schema")

            assert ran.status == 141
            assert ran.err == ""

    def test_sigterm_unwinds(self, orion, monkeypatch):
        """Engines and children are ended; the handler of before is put back."""
        before = signal.getsignal(signal.SIGTERM)

        class Killing(Terminal):
            def write(self, text: str) -> int:
                os.kill(os.getpid(), signal.SIGTERM)
                return len(text)

        monkeypatch.setattr("sys.stdout", Killing())

        with pytest.raises(SystemExit) as caught:
            main(["schema"])

        assert caught.value.code == 143
        assert signal.getsignal(signal.SIGTERM) is before

    def test_arguments_of_the_process_are_the_default(self, orion, monkeypatch, capsys):
        """As the entry point calls it."""
        monkeypatch.setattr(sys, "argv", ["orion", "--version"])

        assert main() == 0
        assert __version__ in capsys.readouterr().out


class _Failing(Terminal):
    """A standard output that cannot be written to."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self._error = error

    def write(self, _text: str) -> int:
        raise self._error


class TestConsole:
    def test_document_is_indented_on_a_terminal_only(self, monkeypatch, capsys):
        """People read it there, programs elsewhere."""
        Console().document({"é": 1})
        assert capsys.readouterr().out == '{"é": 1}\n'

        terminal = Terminal()
        monkeypatch.setattr("sys.stdout", terminal)
        Console().document({"é": 1})
        assert terminal.getvalue() == '{\n  "é": 1\n}\n'

    def test_model_text_cannot_drive_a_terminal(self):
        """Escape sequences become marks; lines and tabs stay."""
        assert (
            safe_for_terminal("a\x1b[2J\x07b\tc\nd\x9b\r") == "a\ufffd[2J\ufffdb\tc\nd\ufffd\ufffd"
        )

    def test_progress_shows_on_a_terminal_only(self, monkeypatch):
        """One line that goes away."""
        terminal = Terminal()
        monkeypatch.setattr("sys.stderr", terminal)
        console = Console()

        console.progress("loading", 0.5)
        console.end_progress()
        console.end_progress()

        assert terminal.getvalue() == "\r\x1b[Kloading 50%\r\x1b[K"

    def test_table_aligns_its_columns(self):
        """And leaves no blanks at the ends."""
        assert table([("a", "b"), ("long", "c")]) == "a     b\nlong  c"
        assert table([]) == ""


class TestImports:
    def test_command_line_does_not_import_what_it_does_not_need(self):
        """`orion --help` starts without pydantic, Gradio or tensors."""
        code = (
            "import sys; from orion.cli import main; status = main(['--help']);"
            "heavy = {'gradio', 'torch', 'pandas', 'numpy', 'pydantic', 'structlog', 'rich'};"
            "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
        )

        assert _run(code) == "[]\n"

    def test_registry_commands_do_not_import_tensors_or_the_page(self, tmp_path):
        """Nor numpy."""
        code = (
            "import sys; from orion.cli import main; status = main(['doctor']);"
            "heavy = {'gradio', 'torch', 'transformers', 'pandas', 'numpy'};"
            "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
        )

        assert _run(code) == "[]\n"


def _run(code: str) -> str:
    import subprocess

    root = Path(__file__).resolve().parents[2]
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root
    )
    return ran.stderr


class TestCharacters:
    def test_bytes_that_are_no_text_come_out_as_json_escapes(self, orion, tmp_path, monkeypatch):
        """A file name of another encoding does not break the document."""
        source = Path(__file__).resolve().parents[2] / "models.json"
        odd = tmp_path / os.fsdecode(b"caf\xe9.json")
        odd.write_bytes(source.read_bytes())
        with (tmp_path / "out").open("w", encoding="utf-8") as stream:
            monkeypatch.setattr("sys.stdout", stream)
            assert main(["validate", "--json", str(odd)]) == 0

        document = json.loads((tmp_path / "out").read_text())

        assert os.fsencode(document["file"]) == os.fsencode(odd)
