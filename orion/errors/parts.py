"""What is wrong with the installation, a part or a tool."""

from __future__ import annotations

from orion.errors.base import OrionError


class RegistryError(OrionError):
    """`models.json` is refused. Facts: `path` (JSON path), `reason`, `file`."""

    code = "bad_registry"
    template = "{file}: {path}: {reason}"


class HomeNotWritableError(OrionError):
    """ORION_HOME cannot be written to. Facts: `home`, `reason`."""

    code = "home_not_writable"
    template = "ORION_HOME cannot be written to: {reason}. Point ORION_HOME elsewhere."


class PortTakenError(OrionError):
    """Another program listens there. Facts: `host`, `port`."""

    code = "port_taken"
    template = "Port {port} on {host} is taken. Choose another with --port or ORION_PORT."


class CannotListenError(OrionError):
    """The address cannot be listened on. Facts: `host`, `port`, `reason`."""

    code = "cannot_listen"
    template = "Cannot listen on {host}, port {port}: {reason}. See --host and --port."


class BreakerConfigError(OrionError):
    """A breaker cannot be set up like that. Facts: `field`, `reason`."""

    code = "breaker_config"
    template = "The breaker's `{field}` {reason}."


class BreakerMisuseError(OrionError):
    """A breaker was used as it must not be. Facts: `breaker`, `reason`."""

    code = "breaker_misuse"
    template = "The breaker {breaker} {reason}."


class IllegalTransitionError(BreakerMisuseError):
    """A breaker cannot go there from where it is. Facts: `breaker`, `source`, `target`."""

    code = "illegal_transition"
    template = "The breaker {breaker} cannot go from {source} to {target}."


class ConversionError(OrionError):
    """A checkpoint could not be converted. Facts: `source`, `reason`."""

    code = "conversion_failed"
    template = "{source} could not be converted: {reason}."
