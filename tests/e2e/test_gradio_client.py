"""The endpoints through `gradio_client`, as other programs use them."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import httpx
import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError

from orion.engine import Engine
from tests.conftest import MakeEngine
from tests.e2e.conftest import ADMIN_TOKEN, Serve
from tests.process.test_worker_process import wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

Connect = Callable[[str], Client]
LONG = "tokens=100000 delay=0.01"
SILENT = "prefill=30"
ASKING = """
import sys, time
from gradio_client import Client

job = Client(sys.argv[1], verbose=False).submit(sys.argv[2], api_name="/chat")
while len(job.outputs()) < 5:
    time.sleep(0.01)
print("reading", flush=True)
time.sleep(600)
"""


@pytest.fixture(scope="module")
def api(shared_url: str, client: Connect) -> Client:
    """A client of the fake runtime's app."""
    return client(shared_url)


def in_flight(engine: Engine) -> int:
    return int(engine.stats()["requests"]["in_flight"])


def refusal(api: Client, name: str, *given: Any, **named: Any) -> str:
    """The message of a call that must fail."""
    with pytest.raises(AppError) as caught:
        api.predict(*given, api_name=name, **named)
    return str(caught.value)


class TestChat:
    def test_streams_the_text_so_far(self, api: Client) -> None:
        """Each value continues the one before; the last is the whole answer."""
        job = api.submit("tokens=60 delay=0.005", api_name="/chat")

        assert job.result() == "".join(f"t{index} " for index in range(60))
        outputs = job.outputs()
        assert len(outputs) > 3
        assert all(later.startswith(earlier) for earlier, later in pairwise(outputs))

    def test_takes_agent_history_and_settings(self, api: Client) -> None:
        """By name, as documented."""
        text = api.predict(
            "system? please",
            agent="creative-agent",
            history=[{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}],
            system_prompt="Be brief.",
            max_tokens=50,
            temperature=0.0,
            top_p=0.9,
            seed=1,
            session="mine",
            api_name="/chat",
        )

        assert text.startswith("system: Be brief.")

    @pytest.mark.parametrize(
        ("given", "code"),
        [
            ({"message": ""}, "invalid_query"),
            ({"message": " \n"}, "invalid_query"),
            ({"message": 5}, "invalid_query"),
            ({"message": {"path": "/etc/passwd"}}, "invalid_query"),
            ({"message": "x" * 1_000_000}, "too_large"),
            ({"message": "hi", "agent": "nobody"}, "unknown_agent"),
            ({"message": "hi", "agent": 3}, "invalid_query"),
            ({"message": "hi", "max_tokens": -1}, "invalid_query"),
            ({"message": "hi", "temperature": 99}, "invalid_query"),
            ({"message": "hi", "history": "what"}, "invalid_query"),
            ({"message": "hi", "history": [{"role": "root", "content": "x"}]}, "invalid_query"),
            ({"message": "tokens=9 fail=3"}, "generation_failed"),
        ],
    )
    def test_bad_input_gets_a_code_and_no_stack_trace(
        self, api: Client, given: dict[str, Any], code: str
    ) -> None:
        """A sentence, its code in brackets, and the app keeps serving."""
        message = refusal(api, "/chat", **given)

        assert message.endswith(f"[{code}]")
        assert "Traceback" not in message
        assert api.predict("hello", api_name="/chat") == "echo: hello"


class TestChatEvents:
    def test_tells_everything_in_order(self, api: Client) -> None:
        """States, route, text; last the answer with its figures."""
        job = api.submit("tokens=5", api_name="/chat_events")
        final = job.result()
        kinds = [event["type"] for event in job.outputs()]

        assert kinds.index("route") < kinds.index("delta") < kinds.index("final")
        assert final["text"] == "t0 t1 t2 t3 t4 "
        assert final["usage"]["completion_tokens"] == 5
        assert final["timings"]["ttft_s"] > 0
        assert len({event["request_id"] for event in job.outputs()}) == 1

    def test_an_error_is_an_event(self, api: Client) -> None:
        """With its code and what had arrived."""
        last = api.submit("tokens=9 fail=3", api_name="/chat_events").result()

        assert (last["type"], last["code"]) == ("error", "generation_failed")
        assert last["text"].startswith("t0 t1 t2")

    def test_cancel_by_request_id(self, api: Client) -> None:
        """The stream ends with what it has, marked as cancelled."""
        job = api.submit(LONG, api_name="/chat_events")
        assert wait_for(lambda: any(event["type"] == "delta" for event in job.outputs()))

        request_id = job.outputs()[0]["request_id"]
        assert api.predict(request_id, api_name="/cancel") == {"cancelled": True}

        last = job.result(timeout=5)
        assert last["finish_reason"] == "cancelled"
        assert api.predict(request_id, api_name="/cancel") == {"cancelled": False}


class TestLeaving:
    @pytest.mark.parametrize("question", [LONG, SILENT])
    def test_a_cancelled_job_ends_the_request(
        self, api: Client, shared_engine: Engine, question: str
    ) -> None:
        """Within half a second, also while nothing has been said yet."""
        job = api.submit(question, api_name="/chat")
        assert wait_for(lambda: len(job.outputs()) > 1 and in_flight(shared_engine) == 1)

        began_s = time.monotonic()
        job.cancel()

        assert wait_for(lambda: in_flight(shared_engine) == 0, limit_s=3)
        assert time.monotonic() - began_s < 0.6

    @pytest.mark.parametrize("question", [LONG, SILENT])
    def test_a_dropped_connection_ends_the_request(
        self, shared_engine: Engine, shared_url: str, question: str
    ) -> None:
        """As with a client that was killed."""
        with httpx.Client(base_url=shared_url) as http:
            data = [question, "auto", *[None] * 7]
            event = http.post("/gradio_api/call/chat", json={"data": data}).json()["event_id"]
            with http.stream("GET", f"/gradio_api/call/chat/{event}") as stream:
                lines = stream.iter_lines()
                assert next(lines).startswith("event: generating")
                assert wait_for(lambda: in_flight(shared_engine) == 1)
            began_s = time.monotonic()

            assert wait_for(lambda: in_flight(shared_engine) == 0, limit_s=3)
            assert time.monotonic() - began_s < 0.6

    def test_a_client_that_is_killed_ends_the_request(
        self, shared_engine: Engine, shared_url: str
    ) -> None:
        """`gradio_client` in a process of its own, ended from outside in mid-answer."""
        child = subprocess.Popen(
            [sys.executable, "-c", ASKING, shared_url, LONG], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout
        assert child.stdout.readline() == "reading\n"
        assert in_flight(shared_engine) == 1

        child.kill()
        began_s = time.monotonic()

        assert wait_for(lambda: in_flight(shared_engine) == 0, limit_s=3)
        assert time.monotonic() - began_s < 0.6
        child.wait(10)
        child.stdout.close()


class TestUnread:
    """Calls whose result nobody fetches, with one second of patience."""

    @pytest.fixture
    def impatient(self, make_fake_engine: MakeEngine) -> Engine:
        """An engine whose readers have one second."""
        return make_fake_engine(deadline={"reader_s": 1.0}, worker={"slots": 2, "spares": 0})

    @pytest.mark.parametrize("name", ["chat", "chat_events"])
    def test_an_answer_nobody_fetches_is_given_up(
        self, impatient: Engine, serve: Serve, name: str
    ) -> None:
        """It counts as cancelled, its places are free again, and a late reader is told."""
        url = f"{serve(impatient)}/gradio_api/call/{name}"
        body = {"data": [LONG, "auto", *[None] * 7]}
        with httpx.Client(timeout=30) as http:
            calls = [http.post(url, json=body).json()["event_id"] for _ in range(5)]
            assert wait_for(lambda: in_flight(impatient) == 5)

            assert wait_for(lambda: in_flight(impatient) == 0)

            assert "[slow_reader]" in http.get(f"{url}/{calls[0]}").text
        rendered = impatient.metrics.render().decode()
        assert 'outcome="cancelled"} 5.0' in rendered
        assert "slow_reader" not in rendered

    @pytest.mark.parametrize("own_session", [False, True])
    def test_an_answer_that_is_read_goes_on(
        self, impatient: Engine, serve: Serve, own_session: bool
    ) -> None:
        """By whichever name its reader came."""
        url = f"{serve(impatient)}/gradio_api/call/chat"
        body = {"data": ["tokens=40 delay=0.05", "auto", *[None] * 7]}
        named = {"session_hash": "mine"} if own_session else {}
        with httpx.Client(timeout=30) as http:
            event = http.post(url, json={**body, **named}).json()["event_id"]
            said = http.get(f"{url}/{event}").text

        assert said.rstrip().endswith('t38 t39 "]')
        assert "event: complete" in said


class TestQueue:
    def test_gradio_never_queues_before_the_engine_does(
        self, make_fake_engine: MakeEngine, serve: Serve, client: Connect
    ) -> None:
        """Slots and waiting places fill, and who holds them all is refused by the engine."""
        engine = make_fake_engine(worker={"slots": 2, "spares": 0}, queue_max=6)
        api = client(serve(engine))
        jobs = [api.submit(LONG, api_name="/chat_events") for _ in range(8)]
        assert wait_for(lambda: engine.stats()["queue"]["waiting"] == 6)

        last = api.submit("hello", api_name="/chat_events").result(timeout=5)

        assert last["code"] == "overloaded"
        assert last["retry_after_s"] > 0
        for job in jobs:
            job.cancel()
        assert wait_for(lambda: in_flight(engine) == 0)


class TestLooking:
    def test_route_says_who_and_why(self, api: Client) -> None:
        """Nothing is generated."""
        route = api.predict("Write a Python function", api_name="/route")

        assert route["agent"] == "code-agent"
        assert route["reason"]
        assert refusal(api, "/route", "").endswith("[invalid_query]")

    def test_agents_status_and_health(self, api: Client) -> None:
        """What there is and how it is."""
        agents = api.predict(api_name="/agents")
        status = api.predict(api_name="/status")

        assert agents[0]["id"] == "conversation-agent"
        assert set(agents[0]["name"]) == {"en", "fr"}
        assert status["queue"]["waiting"] == 0
        assert status["health"] == api.predict(api_name="/health")
        assert status["health"]["ready"] is True

    def test_every_endpoint_is_typed_and_documented(self, api: Client) -> None:
        """`view_api` reads as a manual."""
        named = api.view_api(print_info=False, return_format="dict")["named_endpoints"]

        assert set(named) == {
            "/chat", "/chat_events", "/route", "/agents", "/status", "/health", "/cancel", "/load",
            "/unload", "/reload", "/reset_breakers", "/force_open", "/inject_fault", "/faults",
            "/clear_faults",
        }  # fmt: skip
        for name, endpoint in named.items():
            assert len(endpoint["description"]) > 40, name
            for parameter in [*endpoint["parameters"], *endpoint["returns"]]:
                assert parameter["python_type"]["type"] != "Any", name
            for parameter in endpoint["parameters"]:
                assert f"{parameter['parameter_name']}: " in endpoint["description"]
        defaults = {
            p["parameter_name"]: p["parameter_default"] for p in named["/chat"]["parameters"]
        }
        assert defaults["agent"] == "auto"
        assert named["/chat"]["parameters"][0]["parameter_has_default"] is False


class TestAdmin:
    def test_loads_and_unloads_with_the_token(self, api: Client) -> None:
        """By agent or by model."""
        loaded = api.predict("code-agent", ADMIN_TOKEN, "10m", True, api_name="/load")
        (row,) = api.predict(api_name="/status")["models"]
        gone = api.predict(loaded["model"], ADMIN_TOKEN, api_name="/unload")

        assert loaded["resident"] is True
        assert (row["keep_alive_s"], row["pinned"]) == (600, True)
        assert gone["unloaded"] is True
        assert refusal(api, "/load", "code-agent", ADMIN_TOKEN, "soon").endswith("[invalid_query]")

    def test_the_registry_is_read_again_with_the_token(self, api: Client) -> None:
        """The same file changes nothing."""
        told = api.predict(ADMIN_TOKEN, api_name="/reload")

        assert told["changed"] == told["added"] == told["removed"] == []
        assert told["registry_sha256"] == api.predict(api_name="/status")["registry"]["sha256"]
        assert refusal(api, "/reload", "wrong").endswith("[unauthorized]")

    @pytest.mark.parametrize("token", ["", "wrong", None, 5, f"{ADMIN_TOKEN[:-1]}ñ"])
    def test_refuses_without_it(self, api: Client, token: Any) -> None:
        """Whatever is sent instead."""
        assert refusal(api, "/load", "code-agent", token).endswith("[unauthorized]")
        assert refusal(api, "/unload", "code-agent", token).endswith("[unauthorized]")

    def test_always_refuses_where_none_is_configured(
        self, make_fake_engine: MakeEngine, serve: Serve, client: Connect
    ) -> None:
        """An empty token is no token."""
        api = client(serve(make_fake_engine(admin_token=None)))

        assert refusal(api, "/load", "code-agent", "").endswith("[unauthorized]")

    def test_unknown_names_are_told(self, api: Client) -> None:
        """With the code."""
        assert refusal(api, "/load", "nobody", ADMIN_TOKEN).endswith("[unknown_agent]")
        assert refusal(api, "/load", 7, ADMIN_TOKEN).endswith("[invalid_query]")
        assert refusal(api, "/cancel", None).endswith("[invalid_query]")

    def test_breakers_are_opened_and_reset(self, api: Client) -> None:
        """By agent; the refusal names its code, and afterwards the agent answers again."""
        opened = api.predict("creative-agent", ADMIN_TOKEN, api_name="/force_open")
        breakers = {one["name"]: one for one in api.predict(api_name="/status")["breakers"]}
        other = api.submit("hi", agent="creative-agent", api_name="/chat_events").result()
        reset = api.predict(ADMIN_TOKEN, "creative-agent", api_name="/reset_breakers")
        again = api.submit("hi", agent="creative-agent", api_name="/chat_events").result()

        assert opened == {"opened": ["generate:creative-agent"]}
        assert breakers["generate:creative-agent"]["state"] == "open"
        assert (other["type"], other["fallback_from"]) == ("final", "creative-agent")
        assert other["agent"] != "creative-agent"
        assert "fallback" in other["states"]
        assert reset == {"reset": ["generate:creative-agent"]}
        assert (again["agent"], again["fallback_from"]) == ("creative-agent", None)

    def test_faults_need_a_server_that_allows_them(self, api: Client) -> None:
        """And the token."""
        fault = ("code-agent", "fail")

        assert refusal(api, "/inject_fault", *fault, ADMIN_TOKEN).endswith("[faults_off]")
        assert refusal(api, "/inject_fault", *fault, "x").endswith("[unauthorized]")
        assert refusal(api, "/faults", "x").endswith("[unauthorized]")
        assert refusal(api, "/reset_breakers", "x").endswith("[unauthorized]")
        assert refusal(api, "/force_open", "nobody", ADMIN_TOKEN).endswith("[unknown_agent]")

    def test_faults_are_noted_listed_and_cleared(
        self, make_fake_engine: MakeEngine, serve: Serve, client: Connect
    ) -> None:
        """Until they strike."""
        api = client(serve(make_fake_engine(faults=True)))

        noted = api.predict("code-agent", "slow", ADMIN_TOKEN, times=3, api_name="/inject_fault")

        assert (noted["kind"], noted["where"], noted["times"]) == ("slow", "generate", 3)
        assert api.predict(ADMIN_TOKEN, api_name="/faults") == [noted]
        assert api.predict(ADMIN_TOKEN, api_name="/clear_faults") == {"cleared": 1}
        assert api.predict(ADMIN_TOKEN, api_name="/faults") == []
        for wrong in (("code-agent", "explode"), ("nobody", "fail")):
            assert refusal(api, "/inject_fault", *wrong, ADMIN_TOKEN).endswith("[invalid_query]")
