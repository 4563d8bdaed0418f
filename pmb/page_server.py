"""`streamlit run`, told beforehand what its options do not say.

Pages are declared by st.navigation: Streamlit takes a folder named pages/ for its old way of multi-page apps until the
first visitor has run the entrypoint; a visitor whose first address is a deep link would be told "page not found".
st.navigation sets the same flag. And where others reach the lab, the server's own figures (/_stcore/metrics: sessions,
memory, names of functions) are not for them.

Run: python -m pmb.page_server run streamlit_app.py [options of streamlit run]
"""

from __future__ import annotations

from starlette.responses import PlainTextResponse
from starlette.routing import BaseRoute, Route
from streamlit.runtime.pages_manager import PagesManager
from streamlit.web import cli
from streamlit.web.server.starlette import starlette_app, starlette_routes

from pmb import settings


def no_metrics(_runtime: object, base_url: str | None) -> list[BaseRoute]:
    """In place of Streamlit's routes for its metrics: one that has none."""
    path = starlette_routes._with_base(starlette_routes.ROUTE_METRICS, base_url)
    return [Route(path, lambda _: PlainTextResponse("Not found", status_code=404))]


if __name__ == "__main__":
    PagesManager.uses_pages_directory = False
    if settings.from_environment().confined:
        setattr(starlette_app, "create_metrics_routes", no_metrics)  # noqa: B010 (Streamlit does not export it)
    cli.main()
