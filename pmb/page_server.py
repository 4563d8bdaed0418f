"""`streamlit run`, told beforehand that pages are declared by st.navigation.

Streamlit takes a folder named pages/ for its old way of multi-page apps until the first visitor has run the
entrypoint; a visitor whose first address is a deep link would be told "page not found". st.navigation sets the same
flag.

Run: python -m pmb.page_server run streamlit_app.py [options of streamlit run]
"""

from __future__ import annotations

from streamlit.runtime.pages_manager import PagesManager
from streamlit.web import cli

if __name__ == "__main__":
    PagesManager.uses_pages_directory = False
    cli.main()
