"""One prediction: which model will be asked for next, and what came of loading it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What a prediction is made from; each kind has a ledger of its own."""

    TRANSITION = "transition"
    """The agents asked before."""
    DRAFT = "draft"
    """What is being typed."""


@dataclass(slots=True, eq=False, kw_only=True)
class Prediction:
    """`model` will be asked for next, though it is not resident.

    `kept` were resident when it was made: what "keep the last model" offers instead.
    `silent` ones are made while their ledger is off: nothing is loaded for them. The load was
    asked for at `began_s`, unless it was `declined`, and `loaded` when it was complete.
    One that `repairs` brings a model back that another prediction displaced: that saves nothing.
    It is `judged` once it is entered among those by which its ledger goes off and on.
    A request came at `asked_s`. `saved_s` is what it did not wait (None: not known yet),
    `lost_s` what real requests waited for models that the load displaced.
    """

    kind: Kind
    model: str
    kept: frozenset[str]
    began_s: float
    silent: bool = False
    declined: bool = False
    loaded: bool = False
    repairs: bool = False
    judged: bool = False
    asked_s: float | None = None
    saved_s: float | None = None
    lost_s: float = 0.0
