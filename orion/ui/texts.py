"""Every word the page says, in English and in French. Both catalogues have the same keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orion.errors import OrionError

DEFAULT_LOCALE = "en"

ENGLISH = {
    "chat.label": "Conversation",
    "chat.empty": "Ask anything. The router picks the agent that answers.",
    "input.label": "Message",
    "input.placeholder": "Message (Enter sends)",
    "button.send": "Send",
    "button.stop": "Stop",
    "button.new": "New chat",
    "agent.label": "Agent",
    "agent.auto": "auto: let the router choose",
    "settings.label": "Settings",
    "settings.system_prompt": "System prompt",
    "settings.system_prompt.info": "Replaces the agent's own. Empty: the agent's own.",
    "settings.max_tokens": "Max tokens",
    "settings.max_tokens.info": "Longest answer",
    "settings.temperature": "Temperature",
    "settings.temperature.info": "0 (no chance) to 2",
    "settings.top_p": "Top-p",
    "settings.top_p.info": "above 0, up to 1",
    "settings.seed": "Seed",
    "settings.seed.info": "Same seed, same answer",
    "settings.default": "agent's default",
    "state.idle": "ready",
    "state.validating": "validating",
    "state.routing": "routing",
    "state.cache_lookup": "cache",
    "state.loading_agent": "loading",
    "state.queued": "waiting",
    "state.inferencing": "answering",
    "state.fallback": "fallback",
    "state.success": "done",
    "state.error": "error",
    "state.cancelled": "stopped",
    "phase.queue": "waiting for a free place",
    "phase.queue.position": "waiting, place {position}",
    "phase.queue.estimate": "waiting, place {position}, about {wait}",
    "phase.so_far": "{seconds} s so far",
    "phase.initializing": "starting the worker",
    "phase.importing": "preparing the model on this machine, once",
    "phase.verifying": "verifying the model's files",
    "phase.loading_shard": "loading the model",
    "phase.completing": "finishing the load",
    "phase.prefill": "reading the conversation",
    "chain.label": "State of the request",
    "note.tokens": "{count} tokens",
    "note.tokens.one": "{count} token",
    "note.rate": "{rate} tokens/s",
    "note.ttft": "first text {seconds} ({start})",
    "note.start.cold": "cold",
    "note.start.warm": "warm",
    "note.length": "cut at the token limit",
    "note.cancelled": "stopped",
    "note.cached": "from the cache",
    "note.cached.age": "from the cache, {age} old",
    "note.cached.joined": "together with the same question",
    "note.fallback": "{agent}, in place of {first}",
    "note.why": "Why this agent:",
    "note.first": "First choice {agent}:",
    "note.confidence": "confidence {percent} %",
    "note.chosen": "chosen by you",
    "note.time": "Time",
    "note.total": "{seconds} in all",
    "note.guard": "checks {seconds}",
    "note.route": "routing {seconds}",
    "note.failed": "failed attempts {seconds}",
    "note.queue": "queue {seconds}",
    "note.load": "load {seconds}",
    "note.prefill": "reading {seconds}",
    "note.decode": "writing {seconds}",
    "note.usage": "Tokens",
    "note.prompt": "{count} read, {cached} of them from memory",
    "note.completion": "{count} written",
    "note.path": "Path",
    "hint.route": "→ {agent}, {percent} %",
    "hint.warming": "warming its model",
    "error.title": "Error",
    "error.partial": "The text above is only a part: what had arrived before.",
    "error.retry": "You can send the message again.",
    "status.ready": "ready",
    "status.starting": "starting",
    "status.degraded": "degraded",
    "status.down": "down",
    "status.draining": "shutting down",
    "status.resident": "in memory: {models}",
    "status.none": "no model in memory",
    "status.loading": "loading {models}",
    "status.waiting": "{count} waiting",
    "status.paused": "paused after failures: {names}",
}

FRENCH = {
    "chat.label": "Conversation",
    "chat.empty": "Posez votre question. Le routeur choisit l'agent qui répond.",
    "input.label": "Message",
    "input.placeholder": "Message (Entrée envoie)",
    "button.send": "Envoyer",
    "button.stop": "Arrêter",
    "button.new": "Nouveau chat",
    "agent.label": "Agent",
    "agent.auto": "auto : le routeur choisit",
    "settings.label": "Réglages",
    "settings.system_prompt": "Consigne système",
    "settings.system_prompt.info": "Remplace celle de l'agent. Vide : celle de l'agent.",
    "settings.max_tokens": "Jetons au plus",
    "settings.max_tokens.info": "Longueur maximale de la réponse",
    "settings.temperature": "Température",
    "settings.temperature.info": "de 0 (sans hasard) à 2",
    "settings.top_p": "Top-p",
    "settings.top_p.info": "au-dessus de 0, jusqu'à 1",
    "settings.seed": "Graine",
    "settings.seed.info": "Même graine, même réponse",
    "settings.default": "celui de l'agent",
    "state.idle": "prêt",
    "state.validating": "vérification",
    "state.routing": "routage",
    "state.cache_lookup": "cache",
    "state.loading_agent": "chargement",
    "state.queued": "attente",
    "state.inferencing": "réponse",
    "state.fallback": "repli",
    "state.success": "terminé",
    "state.error": "erreur",
    "state.cancelled": "arrêté",
    "phase.queue": "en attente d'une place libre",
    "phase.queue.position": "en attente, place {position}",
    "phase.queue.estimate": "en attente, place {position}, environ {wait}",
    "phase.so_far": "déjà {seconds} s",
    "phase.initializing": "démarrage du processus",
    "phase.importing": "préparation du modèle sur cette machine, une seule fois",
    "phase.verifying": "vérification des fichiers du modèle",
    "phase.loading_shard": "chargement du modèle",
    "phase.completing": "fin du chargement",
    "phase.prefill": "lecture de la conversation",
    "chain.label": "État de la requête",
    "note.tokens": "{count} jetons",
    "note.tokens.one": "{count} jeton",
    "note.rate": "{rate} jetons/s",
    "note.ttft": "premier texte {seconds} ({start})",
    "note.start.cold": "à froid",
    "note.start.warm": "à chaud",
    "note.length": "coupé à la limite de jetons",
    "note.cancelled": "arrêté",
    "note.cached": "depuis le cache",
    "note.cached.age": "depuis le cache, réponse d'il y a {age}",
    "note.cached.joined": "avec la même question déjà posée",
    "note.fallback": "{agent}, à la place de {first}",
    "note.why": "Pourquoi cet agent :",
    "note.first": "Premier choix {agent} :",
    "note.confidence": "confiance {percent} %",
    "note.chosen": "choisi par vous",
    "note.time": "Temps",
    "note.total": "{seconds} en tout",
    "note.guard": "contrôles {seconds}",
    "note.route": "routage {seconds}",
    "note.failed": "essais manqués {seconds}",
    "note.queue": "attente {seconds}",
    "note.load": "chargement {seconds}",
    "note.prefill": "lecture {seconds}",
    "note.decode": "écriture {seconds}",
    "note.usage": "Jetons",
    "note.prompt": "{count} lus, dont {cached} gardés en mémoire",
    "note.completion": "{count} écrits",
    "note.path": "Parcours",
    "hint.route": "→ {agent}, {percent} %",
    "hint.warming": "préparation de son modèle",
    "error.title": "Erreur",
    "error.partial": "Le texte ci-dessus n'est qu'une partie : ce qui était déjà arrivé.",
    "error.retry": "Vous pouvez renvoyer le message.",
    "status.ready": "prêt",
    "status.starting": "démarrage",
    "status.degraded": "dégradé",
    "status.down": "arrêté",
    "status.draining": "arrêt en cours",
    "status.resident": "en mémoire : {models}",
    "status.none": "aucun modèle en mémoire",
    "status.loading": "chargement de {models}",
    "status.waiting": "{count} en attente",
    "status.paused": "en pause après des échecs : {names}",
}

CATALOGUES: Mapping[str, Mapping[str, str]] = {"en": ENGLISH, "fr": FRENCH}

FRENCH_ERRORS = {
    "orion": "Une erreur s'est produite dans ORION.",
    "invalid_query": "Requête refusée : `{field}` {reason}.",
    "unknown_agent": "Aucun agent ni modèle ne s'appelle {name!r}. Connus : {known}.",
    "context_too_long": (
        "La conversation a {prompt_tokens} jetons et le contexte de ce modèle en contient "
        "{context_tokens}. Raccourcissez-la ou commencez une nouvelle conversation."
    ),
    "too_large": "`{field}` a {size} {unit} ; {limit} au plus sont acceptés.",
    "unauthorized": (
        "Il faut le jeton d'administration : celui que le serveur a reçu dans ORION_ADMIN_TOKEN."
    ),
    "overloaded": (
        "Trop de requêtes attendent ({queue_max}). Réessayez dans {retry_after_s:.0f} s."
    ),
    "backlog": (
        "Les requêtes en attente contiennent trop de texte ({queue_tokens} jetons). "
        "Réessayez dans {retry_after_s:.0f} s."
    ),
    "too_late": (
        "La réponse commencerait dans {wait_s:.0f} s environ, pour {limit_s:.0f} s en tout. "
        "Réessayez dans {retry_after_s:.0f} s."
    ),
    "too_many_requests": (
        "Vous occupez votre part des places de ce serveur ({held}). "
        "Réessayez dans {retry_after_s:.0f} s."
    ),
    "shutting_down": "Le serveur s'arrête. Réessayez dans un instant.",
    "cancelled": "La requête a été annulée.",
    "deadline": "La réponse a pris plus de {limit_s} s (pendant : {phase}).",
    "slow_reader": "La réponse n'a pas été lue à mesure qu'elle venait ; elle a été interrompue.",
    "quarantined": (
        "Ce message a mis fin plus d'une fois au processus qui le traitait : il est refusé "
        "pendant {minutes} min. Modifiez le message et renvoyez-le."
    ),
    "faults_off": (
        "Ce serveur ne provoque pas de pannes ; démarrez-le avec ORION_FAULTS=1 pour le permettre."
    ),
    "not_servable": "{agent} ne peut pas être servi ici : {reason}.",
    "model_too_large": (
        "{agent} ne tient pas sur cette machine : il lui faut {need_gb:.1f} Go de mémoire et il y "
        "en a {have_gb:.1f} Go pour les modèles."
    ),
    "no_room": "Il n'y a pas de place pour {agent} maintenant : {reason}.",
    "agent_unavailable": "{agent} ne peut pas répondre maintenant : {reason}.",
    "agent_paused": "{agent} a été mis en pause par l'exploitant.",
    "circuit_open": (
        "{agent} est en pause après des échecs ({cause}). Nouvel essai dans {retry_after_s:.0f} s."
    ),
    "load_failed": "Le modèle {model} n'a pas pu être chargé : {reason}.",
    "weights_missing": "Le modèle {model} n'est pas sur cette machine ({file} manque). {hint}",
    "bad_weights": (
        "Le fichier {file} de {model} n'est pas celui de models.json : attendu {expected}, "
        "obtenu {got}. Il n'a pas été chargé ; téléchargez-le de nouveau."
    ),
    "generation_failed": "Le modèle a échoué pendant la réponse : {reason}.",
    "out_of_memory": "Le modèle a manqué de mémoire pendant la réponse : {reason}.",
    "empty_answer": "Le modèle {model} a donné une réponse vide.",
    "worker_hung": "Le processus de {model} n'a pas réagi pendant {silent_s} s ; il a été arrêté.",
    "worker_died": "Le processus de {model} s'est arrêté sans prévenir (code {exit_code}).",
    "bad_registry": "{file} : {path} : {reason}",
    "home_not_writable": (
        "ORION_HOME n'est pas accessible en écriture : {reason}. Choisissez un autre dossier."
    ),
    "cannot_listen": "Impossible d'écouter sur {host}, port {port} : {reason}.",
    "port_taken": "Le port {port} de {host} est pris. Choisissez-en un autre avec --port.",
    "breaker_config": "Le disjoncteur est mal réglé : `{field}` {reason}.",
    "breaker_misuse": "Le disjoncteur {breaker} est mal employé : {reason}.",
    "illegal_transition": "Le disjoncteur {breaker} ne peut pas passer de {source} à {target}.",
    "conversion_failed": "{source} n'a pas pu être converti : {reason}.",
}
"""The templates of `orion.errors` by code; their facts are the same."""


def locale_of(accept_language: str | None) -> str:
    """The catalogue for an `Accept-Language` header, by the order of its entries."""
    for entry in (accept_language or "").split(",")[:20]:
        language = entry.partition(";")[0].strip().partition("-")[0].lower()
        if language in CATALOGUES:
            return language
    return DEFAULT_LOCALE


def say(key: str, locale: str, **facts: object) -> str:
    """The words of `key`, with its facts put in. An unknown locale reads as English.

    With a `count` of one (in French, of less than two) the words of `key.one` where there are.
    """
    texts = CATALOGUES.get(locale, ENGLISH)
    count = facts.get("count")
    if isinstance(count, int) and (count == 1 or (count == 0 and locale == "fr")):
        key = f"{key}.one" if f"{key}.one" in texts else key
    return texts[key].format(**facts) if facts else texts[key]


def span(seconds: float) -> str:
    """A time as people say it, rounded to what matters: `12 s`, `2 min`, `3 h`."""
    for unit_s, unit in ((3600, "h"), (60, "min")):
        if seconds >= 0.95 * unit_s:
            return f"{max(1, round(seconds / unit_s))} {unit}"
    return f"{max(1, round(seconds))} s"


def state_name(state: str, locale: str) -> str:
    """What people call a request state; a state without a word is shown as it is."""
    return CATALOGUES.get(locale, ENGLISH).get(f"state.{state}", state)


def error_message(error: OrionError, locale: str) -> str:
    """The sentence of an error in the reader's language, English where none is known."""
    template = FRENCH_ERRORS.get(error.code) if locale == "fr" else None
    if template is None:
        return error.public_message
    return template.format_map(_Facts(error.facts))


class _Facts(dict[str, Any]):
    def __missing__(self, key: str) -> str:
        return "?"
