"""Which agent follows which: counts per session, backed off to those of everybody."""

from __future__ import annotations

from collections import Counter, OrderedDict
from dataclasses import dataclass, field

AGENTS_MAX = 64
"""More different agents than this are not learned."""
ROW_MAX = 4096
"""A row of counts that grew so large is halved: what people do now outweighs what they did."""

_Rows = dict[str, Counter[str]]


@dataclass(slots=True)
class _Session:
    last: str = ""
    rows: _Rows = field(default_factory=dict)


class Transitions:
    """Counts of agents by the agent before, of each of the latest sessions and overall.

    Not thread-safe: `Preloader` holds its lock. Memory is bounded by `sessions_max` sessions of
    at most `AGENTS_MAX` agents, which a session reaches only by asking that many.

    Source:
        Witten & Bell 1991, "The zero-frequency problem", IEEE Trans. Inf. Theory 37(4), method
        C, interpolated as by Chen & Goodman 1999, Computer Speech & Language 13(4), 359-394:
        a row of n counts over t different agents leaves t / (n + t) to the next coarser one.
    """

    def __init__(self, *, sessions_max: int) -> None:
        self._sessions_max = sessions_max
        self._sessions: OrderedDict[str, _Session] = OrderedDict()
        self._overall: _Rows = {}
        self._agents: Counter[str] = Counter()

    def __len__(self) -> int:
        """Sessions remembered."""
        return len(self._sessions)

    def observe(self, session: str, agent: str) -> None:
        """`agent` was asked in `session`."""
        if agent not in self._agents and len(self._agents) >= AGENTS_MAX:
            return
        _count(self._agents, agent)
        known = self._sessions.pop(session, None) or _Session()
        self._sessions[session] = known
        while len(self._sessions) > self._sessions_max:
            self._sessions.popitem(last=False)
        if known.last:
            _count(known.rows.setdefault(known.last, Counter()), agent)
            _count(self._overall.setdefault(known.last, Counter()), agent)
        known.last = agent

    def next_agents(self, session: str) -> dict[str, float]:
        """The probability of each known agent to be next in `session`.

        Empty where the session is unknown, or nobody has gone on from its last agent yet.
        """
        known = self._sessions.get(session)
        if known is None or known.last not in self._overall:
            return {}
        uniform = dict.fromkeys(self._agents, 1 / len(self._agents))
        anyone = _mixed(self._agents, uniform)
        after = _mixed(self._overall[known.last], anyone)
        return _mixed(known.rows.get(known.last, Counter()), after)

    def forget(self, session: str) -> None:
        """Drop what belongs to `session`; the counts of everybody keep no names."""
        self._sessions.pop(session, None)


def _mixed(counts: Counter[str], coarser: dict[str, float]) -> dict[str, float]:
    """The distribution of `counts`, with Witten and Bell's share of `coarser`."""
    total, kinds = counts.total(), len(counts)
    if not total:
        return coarser
    return {
        agent: (counts[agent] + kinds * ratio) / (total + kinds) for agent, ratio in coarser.items()
    }


def _count(row: Counter[str], agent: str) -> None:
    row[agent] += 1
    if row.total() > ROW_MAX:
        for name in list(row):
            row[name] = (row[name] + 1) // 2  # one that was ever seen stays above zero
