"""The gate before every path: bodies that are too large, paths that are closed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from orion.api import BodyGate


async def echo(request: Request) -> PlainTextResponse:
    return PlainTextResponse(str(len(await request.body())))


@pytest.fixture
def client() -> TestClient:
    gate = Middleware(BodyGate, limit=100, closed=("/closed",))
    routes = [Route("/{path:path}", echo, methods=["GET", "POST"])]
    return TestClient(Starlette(routes=routes, middleware=[gate]), raise_server_exceptions=False)


class TestBodies:
    def test_a_body_at_the_limit_passes(self, client: TestClient) -> None:
        """Exactly the limit is taken."""
        assert client.post("/any", content=b"x" * 100).text == "100"

    def test_a_declared_body_over_the_limit_is_refused(self, client: TestClient) -> None:
        """413 with the code and both sizes, whatever the path."""
        answer = client.post("/any", content=b"x" * 101)

        assert answer.status_code == 413
        assert answer.json()["error"]["code"] == "too_large"
        assert "101" in answer.json()["error"]["message"]

    def test_an_undeclared_body_is_counted_as_it_comes(self) -> None:
        """Chunks that pass the limit end in 413, and the application saw no more."""
        import asyncio

        sent: list[dict[str, Any]] = []
        chunks = [b"x" * 30] * 10

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": chunks.pop(), "more_body": bool(chunks)}

        async def send(message: Any) -> None:
            sent.append(message)

        async def application(scope: Any, receive: Any, send: Any) -> None:
            while (await receive())["type"] == "http.request":
                pass
            await send({"type": "http.response.start", "status": 400, "headers": []})

        scope = {"type": "http", "path": "/any", "headers": []}
        asyncio.run(BodyGate(application, limit=100)(scope, receive, send))

        assert sent[0]["status"] == 413
        assert json.loads(sent[1]["body"])["error"]["code"] == "too_large"
        assert len(chunks) == 6


class TestClosedPaths:
    def test_a_closed_path_is_not_there(self, client: TestClient) -> None:
        """404 without asking the application."""
        assert client.post("/closed/and/below", content=b"x").status_code == 404
        assert client.get("/open").status_code == 200
