"""The tables of docs/faults.md and docs/security.md: every row names tests, and each of them exists."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from pmb.settings import REPOSITORY

TABLES = {"faults.md": 15, "security.md": 15}  # each has more rows than that


def rows(document: str) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """What a row is about, and the tests that it names, as file and function."""
    for line in (REPOSITORY / "docs" / document).read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        if len(cells) == 3 and cells[2] != "test" and not set(cells[0]) <= {"-"}:
            yield cells[0], re.findall(r"`(test_\w+)\.(test_\w+)`", cells[2])


@pytest.mark.parametrize(("document", "least"), TABLES.items())
def test_every_row_of_the_table_has_tests_that_exist(document: str, least: int) -> None:
    found = list(rows(document))
    assert len(found) > least
    for about, tests in found:
        assert tests, f"{about}: names no test"
        for file, name in tests:
            tree = ast.parse((REPOSITORY / "tests" / f"{file}.py").read_text(encoding="utf-8"))
            assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, f"{file}.{name}"
