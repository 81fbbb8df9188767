"""The Gradio page and the endpoints of its client."""

from orion.ui.options import launch_options, queue_options
from orion.ui.page import build_page

__all__ = ["build_page", "launch_options", "queue_options"]
