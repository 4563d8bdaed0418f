"""A visitor without a browser: what one says to a page server over its websocket, and what it answers.

The messages are Streamlit's own (BackMsg to the server, ForwardMsg from it), in a binary frame each.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.web.server.starlette.starlette_app_utils import create_signed_value, generate_xsrf_token_string
from streamlit.web.server.starlette.starlette_server_config import USER_COOKIE_NAME, XSRF_COOKIE_NAME
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin, Subprotocol

from tests.server import COOKIE_SECRET

PATIENCE = 60.0  # seconds for one answer of the server


@dataclass
class Visit:
    """One session on one page: the buttons that it was shown, by key, with the names that the server hears."""

    connection: ClientConnection
    page: str
    buttons: dict[str, str] = field(default_factory=dict)

    def rerun(self, pressed: Iterable[str] = ()) -> None:
        """Have the page drawn, as if those widgets were pressed, and wait until the script has ended."""
        message = BackMsg()
        message.rerun_script.page_name = self.page
        for name in pressed:
            message.rerun_script.widget_states.widgets.add(id=name, trigger_value=True)
        self.connection.send(message.SerializeToString())
        while not self._listen():
            pass

    def _listen(self) -> bool:
        """Take in one message; whether it says that the page is drawn to its end."""
        message = ForwardMsg.FromString(bytes(self.connection.recv(PATIENCE, decode=False)))
        if message.WhichOneof("type") == "delta" and message.delta.HasField("new_element"):
            element = message.delta.new_element
            assert element.WhichOneof("type") != "exception", element.exception
            if element.WhichOneof("type") == "button":
                self.buttons[element.button.id.split("-", 2)[2]] = element.button.id
        return (
            message.WhichOneof("type") == "script_finished"
            and message.script_finished == ForwardMsg.FINISHED_SUCCESSFULLY
        )


@contextmanager
def visit(url: str, page: str = "", address: str = "") -> Iterator[Visit]:
    """Open a page, as the one who has signed in with that e-mail address where one is given."""
    token = generate_xsrf_token_string()
    cookies = {XSRF_COOKIE_NAME: token}
    if address:
        user = {"origin": url, "is_logged_in": True, "email": address, "email_verified": True}
        cookies[USER_COOKIE_NAME] = create_signed_value(COOKIE_SECRET, USER_COOKIE_NAME, json.dumps(user)).decode()
    with connect(
        f"{url.replace('http', 'ws', 1)}/_stcore/stream",
        origin=Origin(url),
        subprotocols=[Subprotocol("streamlit"), Subprotocol(token)],
        additional_headers={"Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())},
        max_size=None,
        proxy=None,
    ) as connection:
        opened = Visit(connection, page)
        opened.rerun()
        yield opened
