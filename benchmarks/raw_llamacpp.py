"""Baseline: xllamacpp used directly, in a process of its own, without anything around it.

`python -m benchmarks.raw_llamacpp SPEC` loads one model, then reads a request per line
of standard input (a list: all of them at once) and writes its outcome as a line of JSON; it
ends with its input.
"""

from __future__ import annotations

import json
import secrets
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from orion.runtime.gguf_header import read_header
from orion.runtime.llamacpp import LlamaTokenizer
from orion.runtime.prompt import ChatTemplate, PromptBuilder
from orion.types import Message, Role


class RawModel:
    """One llama.cpp server and the prompt machinery of the product, for the same ids.

    Args:
        spec: `path`, `threads`, `context_tokens` of each slot, `slots`.
    """

    def __init__(self, spec: dict[str, Any]) -> None:
        import xllamacpp

        key = secrets.token_hex(16)
        params = xllamacpp.CommonParams()
        params.model.path = spec["path"]
        self._context_tokens = spec["context_tokens"]
        params.n_ctx = spec["context_tokens"] * spec["slots"]
        params.n_parallel = spec["slots"]
        params.cpuparams.n_threads = spec["threads"]
        params.cpuparams_batch.n_threads = spec["threads"]
        params.api_keys = [key]
        params.hostnames = ["127.0.0.1"]
        params.verbosity = -1
        self._server = xllamacpp.Server(params)
        header = read_header(Path(spec["path"]))
        template = ChatTemplate(
            header.chat_template or "",
            bos_token=header.token_text("bos"),
            eos_token=header.token_text("eos"),
        )
        tokenizer = LlamaTokenizer(
            self._server.listening_address, key, frozenset(header.special_tokens)
        )
        self._prompts = PromptBuilder(template, tokenizer)

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Generate once; the clock runs from the call to the first and to the last text.

        Args:
            request: `messages` as `[role, text]` pairs, `sampling` as the fields of
                `orion.types.Sampling`.
        """
        return self._generate(self._prompt(request), request["sampling"])

    def answers(self, requests: list[dict[str, Any]]) -> dict[str, Any]:
        """Generate all at once; `seconds` run from the first call to the last text of all."""
        prompts = [self._prompt(request) for request in requests]
        sampled = [request["sampling"] for request in requests]
        begun_s = time.monotonic()
        with ThreadPoolExecutor(len(requests)) as threads:
            made = list(threads.map(self._generate, prompts, sampled))
        errors = [one["error"] for one in made if "error" in one]
        if errors:
            return {"error": errors[0]}
        return {"answers": made, "seconds": max(one["last_s"] for one in made) - begun_s}

    def _prompt(self, request: dict[str, Any]) -> list[int]:
        messages = [Message(role=Role(role), content=text) for role, text in request["messages"]]
        prompt = self._prompts.build(
            messages,
            context_tokens=self._context_tokens,
            max_tokens=request["sampling"]["max_tokens"],
        )
        return list(prompt.ids)

    def _generate(self, ids: list[int], sampling: dict[str, Any]) -> dict[str, Any]:
        texts: list[str] = []
        moments_s: list[float] = []
        last: dict[str, Any] = {}

        def on_chunk(chunk: dict[str, Any]) -> bool:
            text = chunk["choices"][0]["text"] if "choices" in chunk else ""
            if text:
                texts.append(text)
                moments_s.append(time.monotonic())
            if "timings" in chunk or "error" in chunk:
                last.update(chunk)
            return False

        begun_s = time.monotonic()
        self._server.handle_completions(_parameters(ids, sampling), on_chunk)
        if "error" in last:
            return {"error": str(last["error"])}
        tokens = int(last["usage"]["completion_tokens"])
        decode_s = moments_s[-1] - moments_s[0]
        return {
            "ttft_s": moments_s[0] - begun_s,
            "last_s": moments_s[-1],
            "tokens_per_s": (tokens - 1) / decode_s if decode_s else None,
            "tokens": tokens,
            "prompt_tokens": len(ids),
            "cached_tokens": int(last["timings"].get("cache_n", 0)),
            "finish_reason": last["choices"][0]["finish_reason"],
            "text": "".join(texts),
        }


def _parameters(ids: list[int], sampling: dict[str, Any]) -> dict[str, Any]:
    return {
        "prompt": ids,
        "stream": True,
        "cache_prompt": True,
        "n_predict": sampling["max_tokens"],
        "temperature": sampling["temperature"],
        "top_p": sampling["top_p"],
        "top_k": sampling["top_k"],
        "min_p": sampling["min_p"],
        "repeat_penalty": sampling["repetition_penalty"],
    }


def main(arguments: list[str]) -> int:
    """Answer requests until standard input ends."""
    model = RawModel(json.loads(arguments[0]))
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        made = model.answers(asked) if isinstance(asked, list) else model.answer(asked)
        print(json.dumps(made), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
