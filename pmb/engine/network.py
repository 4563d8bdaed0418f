"""What the environment says about the way to the Hub: a variable that nothing works with is named before it is used.

The libraries' own errors do not name it: "No such file or directory" for a bundle of certificates that is gone.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from urllib.request import getproxies

import httpx2
from huggingface_hub import constants, get_token

from pmb.errors import HubUnavailable

PROXY_SCHEMES = ("http", "https", "socks5", "socks5h")  # of httpx
TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
CACHES = ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME")  # the first that is set counts


def check_environment() -> None:
    """Raise HubUnavailable with the variable that keeps every request from being sent, or its answer from the disk."""
    for variable, there in (("SSL_CERT_FILE", os.path.isfile), ("SSL_CERT_DIR", os.path.isdir)):
        given = os.environ.get(variable, "")
        if given and not there(given):
            raise HubUnavailable(f"{variable} is {given!r}, which is not there; unset it, or correct it.")
    for scheme in ("http", "https", "all"):
        _check_proxy(scheme, getproxies().get(scheme, ""))
    try:
        Path(constants.HF_HUB_CACHE).mkdir(parents=True, exist_ok=True)
        token = get_token() or ""
    except OSError as error:
        raise cache_error(error) from error
    if not token.isascii():
        where = _first_set(TOKENS) or f"The file {constants.HF_TOKEN_PATH}"
        raise HubUnavailable(f"{where} has a character that no token has; copy the token again.")


def cache_error(error: OSError) -> HubUnavailable:
    """The sentence for a cache of the Hub that cannot be written or read."""
    variable = _first_set(CACHES)
    why = f"({error.strerror or error})"
    if variable:
        return HubUnavailable(f"{variable} is {os.environ[variable]!r}, where no downloads can be kept {why}.")
    return HubUnavailable(f"No downloads can be kept in {constants.HF_HUB_CACHE} {why}; HF_HOME names another folder.")


def certificate_error() -> HubUnavailable | None:
    """The sentence for certificates that cannot be read, where a variable names them."""
    variable = _first_set(("SSL_CERT_FILE", "SSL_CERT_DIR"))
    if not variable:
        return None
    given = os.environ[variable]
    return HubUnavailable(f"{variable} is {given!r}, which has no certificates; unset it, or correct it.")


def _check_proxy(scheme: str, proxy: str) -> None:
    """The proxy's address is not shown: it can have a password."""
    variable = _first_set((f"{scheme}_proxy", f"{scheme}_proxy".upper())) or f"The system's proxy for {scheme}"
    try:
        kind = httpx2.URL(proxy if "://" in proxy else f"http://{proxy}").scheme
    except httpx2.InvalidURL:
        raise HubUnavailable(f"{variable} is no address of a proxy; http://HOST:PORT is one.") from None
    if proxy and kind not in PROXY_SCHEMES:
        allowed = ", ".join(f"{name}://" for name in PROXY_SCHEMES)
        raise HubUnavailable(f"{variable} names a {kind}:// proxy; {allowed} are known.")
    if proxy and kind.startswith("socks5") and importlib.util.find_spec("socksio") is None:
        raise HubUnavailable(f"{variable} names a {kind}:// proxy, which needs `pip install socksio`.")


def _first_set(variables: tuple[str, ...]) -> str | None:
    return next((name for name in variables if os.environ.get(name)), None)
