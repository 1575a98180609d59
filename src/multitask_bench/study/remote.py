"""What may leave this machine: harmful text goes to a remote model only with the user's word."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

from multitask_bench.errors import ConfigError, RemoteError

LOCAL_PROVIDERS = ("mtb", "mockllm", "hf", "transformer_lens", "none", "llama-cpp-python", "ollama")


def is_loopback(name: str) -> bool:
    """Whether an Inspect model answers on this machine: by kind of provider, or by its base URL."""
    provider = name.split("/")[0]
    base_url = os.environ.get(f"{provider.upper().replace('-', '_')}_BASE_URL", "")
    if base_url:
        return any(f"//{host}" in base_url for host in ("localhost", "127.0.0.1", "[::1]"))
    return provider in LOCAL_PROVIDERS or provider in ("vllm", "sglang")


def check_allowed(name: str, *, sent: str, allowed: tuple[str, ...]) -> None:
    """Let ``sent``, such as ``12 harmful requests``, go to the Inspect model ``name``, or stop.

    ``allowed`` holds providers or whole model names.
    Raises: RemoteError: the model is not on this machine and not allowed.
    """
    provider = name.split("/")[0]
    if is_loopback(name) or provider in allowed or name in allowed:
        return
    raise RemoteError(
        f"{name} is not on this machine: {sent} would go to '{provider}', at that provider's price. "
        f"Allow it with --allow-remote {provider}."
    )


LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "::1")


def check_host(url: str, *, sent: str, allowed: tuple[str, ...]) -> None:
    """Let ``sent`` go to the server at ``url``, or stop; ``allowed`` holds host names.

    Raises: RemoteError: the server is not on this machine and not allowed; ConfigError: no address of a server.
    """
    parts = urlsplit(url)
    host = parts.hostname
    if host is None or parts.scheme not in ("http", "https"):
        raise ConfigError(f"{url}: not the address of a server; it begins with http:// or https://.")
    if host in LOOPBACK_HOSTS or host in allowed:
        return
    raise RemoteError(f"{host} is not on this machine: {sent} would go there. Allow it with --allow-remote {host}.")
