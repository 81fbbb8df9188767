"""What is resident, what was loaded ahead for which prediction, and what that displaced."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from orion.preload.prediction import Prediction

MODELS_MAX = 256
"""More models than this are not followed."""
COMING_S = 60.0
"""A load that was asked for and did not begin within this time is no longer expected."""

_V = TypeVar("_V")


class Loads:
    """Follows the models of the machine by what the dispatcher says. Not thread-safe.

    Attributes:
        resident: Models that are loaded now.
        ahead: Model → the prediction it is loaded for, until it is used or gone.
        displaced: Model that had to leave → the prediction in whose favour.
    """

    def __init__(self) -> None:
        self.resident: OrderedDict[str, None] = OrderedDict()
        self.ahead: OrderedDict[str, Prediction] = OrderedDict()
        self.displaced: OrderedDict[str, Prediction] = OrderedDict()
        self._seconds: OrderedDict[str, float] = OrderedDict()

    def is_there(self, model: str, now_s: float) -> bool:
        """Whether `model` is resident or about to be: nothing to load ahead."""
        coming = self.ahead.get(model)
        return model in self.resident or (coming is not None and self._is_coming(coming, now_s))

    def seconds(self, model: str) -> float:
        """How long a load of `model` took the last time; the mean of others, 0 without any."""
        known = self._seconds
        return known.get(model, sum(known.values()) / len(known) if known else 0.0)

    def began(self, prediction: Prediction) -> None:
        """Its model is about to be loaded ahead."""
        _put(self.ahead, prediction.model, prediction)

    def declined(self, model: str) -> Prediction | None:
        """It is not loaded ahead after all; returns the prediction it was for."""
        coming = self.ahead.get(model)
        return None if coming is None or coming.loaded else self.ahead.pop(model)

    def loaded(self, model: str, seconds: float, *, speculative: bool) -> Prediction | None:
        """`model` is resident; returns the prediction that it was loaded for, or that lost by it.

        The first for a speculative load; the second for a real one of a model that a prediction
        displaced. A real load ends the speculative ones, and would have displaced others
        anyway: they can blame nobody then.
        """
        _put(self.resident, model, None)
        _put(self._seconds, model, seconds)
        blamed = self.displaced.pop(model, None)
        if speculative:
            coming = self.ahead.get(model)
            if coming is not None and blamed is not None:
                coming.repairs = True
            return coming
        self.displaced.clear()
        for given_up in [one for one in self.ahead.values() if not one.loaded]:
            given_up.saved_s = 0.0
            del self.ahead[given_up.model]
        return blamed

    def gone(self, model: str, now_s: float) -> Prediction | None:
        """`model` left memory; returns the prediction it had been loaded for, unless used."""
        unused = self.ahead.pop(model, None)
        if model in self.resident:
            del self.resident[model]
            coming = [one for one in self.ahead.values() if self._is_coming(one, now_s)]
            if unused is None and coming:
                _put(self.displaced, model, coming[-1])
        return unused

    def granted(self, model: str) -> Prediction | None:
        """A real request runs on `model`; returns the prediction it had been loaded for.

        It would have displaced others anyway: they can blame nobody then.
        """
        used = self.ahead.pop(model, None)
        if used is not None:
            self.displaced.clear()
        return used

    @staticmethod
    def _is_coming(prediction: Prediction, now_s: float) -> bool:
        return not prediction.loaded and now_s - prediction.began_s < COMING_S


def _put(known: OrderedDict[str, _V], key: str, value: _V) -> None:
    known[key] = value
    known.move_to_end(key)
    while len(known) > MODELS_MAX:
        known.popitem(last=False)
