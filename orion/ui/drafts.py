"""What the page does with a message that is still being typed."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import TYPE_CHECKING, Any

import gradio as gr

from orion.errors import OrionError
from orion.types import AUTO
from orion.ui.texts import locale_of, say

if TYPE_CHECKING:
    from orion.engine import Engine


class Drafts:
    """Asks the engine where a draft would go. It keeps nothing, and no failure is shown."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def hint(
        self,
        draft: object,
        agent: object,
        asked: Mapping[str, str] | None,
        request: gr.Request,
    ) -> str:
        """The line under the box; HTML, escaped. Empty where there is nothing to say.

        Nothing is said when the person chose the agent, whose model is warmed all the same.
        """
        if not isinstance(draft, str) or not draft.strip():
            return ""
        history = [{"role": "user", "content": asked["text"]}] if asked else None
        try:
            found = self._engine.draft(
                draft, session=str(request.session_hash), agent=agent, history=history
            )
        except OrionError:
            return ""
        except Exception as error:  # noqa: BLE001 - a person who types is not to hear of it
            self._engine.log.warning("draft.failed", error=type(error).__name__)
            return ""
        locale = locale_of(request.headers.get("accept-language"))
        return hint_html(found, locale) if agent == AUTO else ""


def hint_html(found: Mapping[str, Any], locale: str) -> str:
    """Which agent a draft would go to, how surely, and that its model is on its way."""
    percent = round(found["confidence"] * 100)
    parts = [say("hint.route", locale, agent=found["agent"], percent=percent)]
    if found["warming"]:
        parts.append(say("hint.warming", locale))
    said = " · ".join([str(found["agent"]), *parts[1:]])
    # Read aloud by draft.js, only when it changes.
    return f'<p class="hint" data-said="{escape(said)}">{escape(" · ".join(parts))}</p>'
