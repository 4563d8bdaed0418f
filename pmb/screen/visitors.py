"""Who looks at the page, and whether he may run and change things.

Sign-in is Streamlit's own (OpenID Connect), set up in .streamlit/secrets.toml. Without it whoever reaches the page may
do all that the lab may do: it listens on loopback alone unless it is told otherwise (pmb/serve.py).
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import streamlit as st

from pmb import settings
from pmb.settings import EVERYONE, Settings

NOT_SIGNED_IN = "Sign in to run or change anything; everybody may look."
NOT_NAMED = "You may look at results here, but not run or change anything: PMB_RUNNERS does not name you."


@dataclass(frozen=True, slots=True)
class Visitor:
    """Whose session this is; `refusal` says why he may write nothing and is empty where he may."""

    name: str
    refusal: str


def visitor() -> Visitor:
    """The visitor of this session. The lab takes an address from the provider unless that says it is unverified."""
    if not sign_in_is_set_up():
        return Visitor("", "")
    user = st.user
    if not user.get("is_logged_in"):
        return Visitor("", NOT_SIGNED_IN)
    address = str(user.get("email") or "").lower() if _is_verified(user.get("email_verified")) else ""
    name = address or str(user.get("name") or user.get("sub") or "")
    return Visitor(name, "" if may_run(settings.from_environment(), address) else NOT_NAMED)


@functools.cache
def sign_in_is_set_up() -> bool:
    """Whether there is a section [auth] in the secrets. Read once, as `serve.find_place` does at the start.

    Where there are none Streamlit looks for their files at each question, and a page asks many times.
    """
    return st.secrets.load_if_toml_exists() and bool(st.secrets.get("auth"))


def may_run(found: Settings, address: str) -> bool:
    """Whether PMB_RUNNERS names this address, its domain or everybody who is signed in."""
    name, _, domain = address.partition("@")
    named = name and "@" not in domain and {address, f"@{domain}"} & set(found.runners)
    return EVERYONE in found.runners or bool(named)


def providers() -> list[str]:
    """The names of the providers in the section [auth]; an empty one where the section itself is it."""
    section = st.secrets["auth"]
    named = [str(name) for name, value in section.items() if hasattr(value, "items") and "client_id" in value]
    return [*([""] if "client_id" in section else []), *named]


def sign_in_part(refusal: str) -> None:
    """A button to sign in or out, where sign-in is set up, and why nothing can be run."""
    if refusal:
        st.caption(refusal)
    if not sign_in_is_set_up():
        return
    if st.user.get("is_logged_in"):
        st.text(visitor().name)
        if st.button("Sign out", key="sign_out", icon=":material/logout:", type="tertiary"):
            st.logout()
        return
    for provider in providers():
        label = f"Sign in with {provider}" if provider else "Sign in"
        if st.button(label, key=f"sign_in_{provider}", icon=":material/login:"):
            st.login(provider or None)


def _is_verified(claim: object) -> bool:
    """Not every provider says it; what says no is believed."""
    return str(claim).lower() not in ("false", "0")
