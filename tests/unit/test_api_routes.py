"""The paths beside chat: models, probes, metrics, wrong methods and wrong paths."""

from __future__ import annotations

import threading

import pytest

from orion.api import HttpApi, probes
from orion.registry import AGENT_IDS
from tests.fakes.asgi import client_of
from tests.fakes.engine import MODEL, ScriptedEngine

PATHS = ("/v1/models", "/v1/models/auto", "/livez", "/readyz", "/metrics")


class TestModels:
    def test_list_holds_all_three_kinds(self):
        """`auto`, every agent, every model, each in the protocol's shape."""
        body = client_of(ScriptedEngine())("GET", "/v1/models").json()

        entries = {entry["id"]: entry for entry in body["data"]}
        assert body["object"] == "list"
        assert set(entries) == {"auto", *AGENT_IDS, MODEL, "hub-model"}
        assert all(entry["object"] == "model" for entry in entries.values())
        assert all(isinstance(entry["created"], int) for entry in entries.values())
        assert entries["auto"]["owned_by"] == "orion"
        assert entries["code-agent"]["orion"]["model"] == MODEL
        assert entries[MODEL]["owned_by"] == "tiny-wheel"
        assert entries["hub-model"]["owned_by"] == "someone"

    def test_model_that_cannot_be_served_says_so(self):
        """Unpinned entries are listed, marked."""
        client = client_of(ScriptedEngine())

        assert client("GET", f"/v1/models/{MODEL}").json()["orion"]["servable"] is True
        assert client("GET", "/v1/models/hub-model").json()["orion"]["servable"] is False

    @pytest.mark.parametrize("name", ["nope", "someone/Tiny-GGUF", "x" * 3000])
    def test_unknown_model_is_404(self, name):
        """A slash or a long name changes nothing."""
        reply = client_of(ScriptedEngine())("GET", f"/v1/models/{name}")

        assert (reply.status, reply.error["code"], reply.error["param"]) == (
            404,
            "unknown_agent",
            "model",
        )
        assert len(reply.body) < 1000


class TestProbes:
    def test_alive_needs_no_engine(self):
        """The answer is a constant."""
        reply = client_of(ScriptedEngine())("GET", "/livez")

        assert (reply.status, reply.json()) == (200, {"status": "alive"})

    @pytest.mark.parametrize(("ready", "status"), [(True, 200), (False, 503)])
    def test_ready_is_the_engines_health(self, ready, status):
        """503 carries a time to come back; the reasons are told."""
        engine = ScriptedEngine()
        engine.ready = {"status": "degraded", "ready": ready, "reasons": ["a worker died"]}

        reply = client_of(engine)("GET", "/readyz")

        assert (reply.status, reply.json()) == (status, engine.ready)
        assert reply.headers.get("retry-after") == (None if ready else "1")

    def test_engine_that_does_not_answer_is_not_ready(self, monkeypatch):
        """A probe has a limit of its own and keeps the liveness probe free."""
        monkeypatch.setattr(probes, "ANSWER_LIMIT_S", 0.02)
        release = threading.Event()
        engine = ScriptedEngine()
        engine.health = lambda: {"ready": release.wait(10)}
        client = client_of(engine)

        replies = [client("GET", "/readyz") for _ in range(3)]
        alive = client("GET", "/livez")
        release.set()

        assert [reply.status for reply in replies] == [503] * 3
        assert replies[0].json()["status"] == "down"
        assert alive.status == 200

    def test_metrics_are_prometheus_text(self):
        """With the content type a scraper looks for."""
        reply = client_of(ScriptedEngine())("GET", "/metrics")

        assert reply.headers["content-type"].startswith("text/plain; version=0.0.4")
        assert b"orion_requests_total 3.0" in reply.body

    def test_metrics_that_fail_are_a_plain_500(self):
        """The trace goes to the log."""
        engine = ScriptedEngine()
        engine.metrics.render = lambda: 1 / 0

        reply = client_of(engine)("GET", "/metrics")

        assert (reply.status, reply.error["code"]) == (500, "orion")
        assert b"division" not in reply.body


class TestEveryPath:
    @pytest.mark.parametrize("path", PATHS)
    def test_answers_carry_a_request_id_and_are_not_kept(self, path):
        """Fresh ids, no caches, no sniffing."""
        client = client_of(ScriptedEngine())

        first, second = client("GET", path), client("GET", path)

        assert first.headers["x-request-id"] != second.headers["x-request-id"]
        assert first.headers["cache-control"] == "no-store"
        assert first.headers["x-content-type-options"] == "nosniff"

    @pytest.mark.parametrize("path", PATHS)
    def test_head_is_answered_like_get(self, path):
        """Load balancers ask with HEAD."""
        assert client_of(ScriptedEngine())("HEAD", path).status == 200

    @pytest.mark.parametrize(
        ("method", "path", "allowed"),
        [
            ("GET", "/v1/chat/completions", "POST"),
            ("PUT", "/v1/chat/completions", "POST"),
            ("OPTIONS", "/v1/chat/completions", "POST"),
            ("POST", "/v1/models", "GET, HEAD"),
            ("DELETE", "/v1/models/auto", "GET, HEAD"),
            ("POST", "/livez", "GET, HEAD"),
            ("PATCH", "/metrics", "GET, HEAD"),
        ],
    )
    def test_wrong_method_is_405_in_the_same_shape(self, method, path, allowed):
        """And says which one is right."""
        reply = client_of(ScriptedEngine())(method, path)

        assert (reply.status, reply.error["code"]) == (405, "method_not_allowed")
        assert reply.headers["allow"] == allowed
        assert allowed in reply.error["message"]

    @pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
    @pytest.mark.parametrize("path", ["/v1", "/v1/", "/v1/completions", "/v1/embeddings"])
    def test_unknown_path_is_404_in_the_same_shape(self, method, path):
        """A client of another endpoint learns that it is not there."""
        reply = client_of(ScriptedEngine())(method, path)

        assert (reply.status, reply.error["code"]) == (404, "not_found")

    def test_routes_stay_out_of_the_pages_schema(self):
        """The page documents its own endpoints only."""
        made = HttpApi(ScriptedEngine()).routes()

        assert len({route.name for route in made}) == len(made)
        assert not any(route.include_in_schema for route in made)
