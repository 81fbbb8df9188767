"""Asks `/livez` at a steady pace, in a process of its own, until its input ends.

`python -m benchmarks.livez_probe PORT` says that it has begun, then prints one line of JSON:
seconds from the request's last byte to the whole answer, one per request.
"""

from __future__ import annotations

import http.client
import json
import select
import sys
import time

PERIOD_S = 0.02
_LIMIT_S = 30.0


def main(arguments: list[str]) -> int:
    """Probe the port that the first argument names."""
    taken_s: list[float] = []
    connection = http.client.HTTPConnection("127.0.0.1", int(arguments[0]), timeout=_LIMIT_S)
    connection.connect()
    print(flush=True)
    while not select.select([sys.stdin], [], [], PERIOD_S)[0]:
        begun_s = time.monotonic()
        connection.request("GET", "/livez")
        answer = connection.getresponse()
        answer.read()
        taken_s.append(time.monotonic() - begun_s)
        if answer.status != http.client.OK:
            return 1
    print(json.dumps(taken_s), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
