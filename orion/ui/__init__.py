"""The Gradio page and the endpoints of its client."""

import orion.ui.gradio_start  # noqa: F401 - before anything else imports gradio
from orion.ui.options import launch_options, queue_options
from orion.ui.page import build_page

__all__ = ["build_page", "launch_options", "queue_options"]
