"""Which model will be asked for next, and whether loading it ahead pays: decisions, no action."""

from orion.preload.ledger import Ledger
from orion.preload.prediction import Kind, Prediction
from orion.preload.preloader import Preloader
from orion.preload.transitions import Transitions

__all__ = ["Kind", "Ledger", "Prediction", "Preloader", "Transitions"]
