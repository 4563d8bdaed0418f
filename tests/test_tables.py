"""A user's own tables: every format, guessed columns, the fixed split, and every fault named with its row."""

from __future__ import annotations

import json
import resource
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pmb.catalog.tasks import TABLE_SUFFIXES, TASKS, Table, parse_table, table_id
from pmb.engine import cells, parquet, tables
from pmb.engine.glue import load_glue
from pmb.engine.tables import load_table
from pmb.errors import BadInput
from pmb.spec import TablePreview

REVIEWS = pd.DataFrame(
    {
        "id": range(60),
        "review": [f"this is sentence number {i}, a {'good' if i % 3 else 'bad'} one" for i in range(60)],
        "sentiment": ["pos" if i % 3 else "neg" for i in range(60)],
    }
)


def written(frame: pd.DataFrame, path: Path) -> str:
    match path.suffix:
        case ".csv":
            frame.to_csv(path, index=False)
        case ".tsv":
            frame.to_csv(path, index=False, sep="\t")
        case ".jsonl":
            frame.to_json(path, orient="records", lines=True)
        case ".parquet":
            frame.to_parquet(path)
    return str(path)


@pytest.mark.parametrize("suffix", TABLE_SUFFIXES)
def test_every_format_gives_the_same_task(tmp_path: Path, suffix: str) -> None:
    chosen = load_table(Table(written(REVIEWS, tmp_path / f"reviews{suffix}")))
    assert (chosen.table.text, chosen.table.pair, chosen.table.label) == ("review", "", "sentiment")
    assert chosen.labels == ("neg", "pos")
    again = load_table(Table(written(REVIEWS, tmp_path / "again.csv")))
    assert (chosen.data.train, chosen.data.dev) == (again.data.train, again.data.dev)


def test_the_split_is_stratified_fixed_and_without_shared_sentences(tmp_path: Path) -> None:
    data = load_table(Table(written(REVIEWS, tmp_path / "a.csv"))).data
    shuffled = load_table(Table(written(REVIEWS.sample(frac=1, random_state=1), tmp_path / "b.csv"))).data
    assert (data.train, data.dev) == (shuffled.train, shuffled.dev)
    assert Counter(e.label for e in data.dev) == {0: 4, 1: 8}
    assert len(data.train) == 48
    assert not {e.texts for e in data.train} & {e.texts for e in data.dev}
    assert data.notes[-1] == "12 of 60 rows were set aside as dev, of each label alike."


def test_sentences_of_dev_are_taken_out_of_train_and_said(tmp_path: Path) -> None:
    dev = written(REVIEWS.head(9), tmp_path / "dev.csv")
    data = load_table(Table(written(REVIEWS, tmp_path / "a.csv"), dev=dev)).data
    assert (len(data.train), len(data.dev)) == (51, 9)
    assert data.notes[-1] == "9 train rows stand in dev too and were left out of train."
    assert "dev.csv has 9 rows in 10 lines." in data.notes


def test_pairs_and_numbers_are_guessed(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "sentence1": [f"a {i}" for i in range(40)],
            "sentence2": [f"b {i}" for i in range(40)],
            "score": [i / 8 for i in range(40)],
        }
    )
    chosen = load_table(Table(written(frame, tmp_path / "pairs.tsv")))
    assert (chosen.table.text, chosen.table.pair, chosen.labels) == ("sentence1", "sentence2", ())
    assert {len(e.texts) for e in chosen.data.dev} == {2}
    assert all(isinstance(e.label, float) for e in chosen.data.train)


def test_few_whole_numbers_are_classes_in_their_order(tmp_path: Path) -> None:
    frame = REVIEWS.assign(sentiment=[(2, 10, 1)[i % 3] for i in range(60)])
    assert load_table(Table(written(frame, tmp_path / "stars.csv"))).labels == ("1", "2", "10")


def test_named_columns_win_over_guesses(tmp_path: Path) -> None:
    frame = REVIEWS.assign(label=["x", "y"] * 30, text="nothing")
    chosen = load_table(Table(written(frame, tmp_path / "a.csv"), text="review", label="sentiment"))
    assert (chosen.table.text, chosen.labels) == ("review", ("neg", "pos"))


def with_cell(row: int, column: str, value: str) -> pd.DataFrame:
    """The reviews with one cell changed; rows are counted from 1."""
    frame = REVIEWS.copy()
    frame.loc[row - 1, column] = value
    return frame


@pytest.mark.parametrize(
    ("frame", "sentence"),
    [
        (with_cell(7, "review", "  "), r"t.csv row 7 has no text in column 'review'"),
        (with_cell(8, "sentiment", ""), r"t.csv row 8 has no label"),
        (with_cell(9, "sentiment", "odd"), r"t.csv row 9: label 'odd' stands in 1 rows; each needs at least 4"),
        (REVIEWS.assign(sentiment="pos"), r"t.csv has one label only, 'pos'"),
        (REVIEWS.assign(sentiment=[f"l{i}" for i in range(60)]), r"t.csv has 60 different labels; at most 50"),
        (REVIEWS.head(0), r"t.csv has no rows"),
        (REVIEWS[["review"]], r"t.csv needs a column of text and one of labels; it has review"),
    ],
)
def test_faults_of_content_are_named_with_their_row(tmp_path: Path, frame: pd.DataFrame, sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        load_table(Table(written(frame, tmp_path / "t.csv")))


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("t.csv", b"", r"t.csv is empty"),
        ("t.csv", b"text,label\na,1\nb,2,3\n", r"t.csv line 3 has 3 cells, its first row 2"),
        ("t.csv", b"text,label\nb\x81\xe9,1\n", r"t.csv is not UTF-8: byte 12 cannot be read"),
        ("t.jsonl", b'{"text": "a"\n', r"t.jsonl line 1 is no JSON: Input data was truncated"),
        ("t.parquet", b"nothing", r"t.parquet cannot be read"),
        ("t.xlsx", b"nothing", r"t.xlsx is no table that can be read: .csv, .tsv, .jsonl, .parquet are"),
        ("t.csv", b"text,text,label\na,b,c\n", r"t.csv has two columns named 'text'"),
    ],
)
def test_files_that_cannot_be_read_are_named_with_why(tmp_path: Path, name: str, content: bytes, sentence: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadInput, match=sentence):
        load_table(Table(str(tmp_path / name)))


def test_columns_and_labels_that_are_not_there_are_named(tmp_path: Path) -> None:
    path = written(REVIEWS, tmp_path / "t.csv")
    with pytest.raises(BadInput, match="has no column 'stars'; it has id, review, sentiment"):
        load_table(Table(path, label="stars"))
    other = written(with_cell(3, "sentiment", "odd"), tmp_path / "dev.csv")
    with pytest.raises(BadInput, match=r"dev.csv row 3: label 'odd' is none of neg, pos"):
        load_table(Table(path, dev=other))
    renamed = written(REVIEWS.rename(columns={"review": "words"}), tmp_path / "renamed.csv")
    with pytest.raises(BadInput, match=r"renamed.csv has no column 'review'"):
        load_table(Table(path, dev=renamed))
    with pytest.raises(BadInput, match="nowhere.csv is not there"):
        load_table(Table(str(tmp_path / "nowhere.csv")))


def test_limits_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(REVIEWS, tmp_path / "t.csv")
    monkeypatch.setattr(cells, "MOST_ROWS", 50)
    with pytest.raises(BadInput, match="t.csv has 60 rows; at most 50 are allowed"):
        load_table(Table(path))
    monkeypatch.setattr(tables, "MOST_MEGABYTES", 0.001)
    with pytest.raises(BadInput, match="t.csv has 0 MB; at most 0.001 are allowed"):
        load_table(Table(path))


def test_an_id_names_the_file_and_its_columns() -> None:
    assert parse_table("csv:a b.csv") == Table("a b.csv")
    assert parse_table("csv:x.tsv?text=A&label=B%26C&dev=d.csv") == Table("x.tsv", text="A", label="B&C", dev="d.csv")
    assert parse_table("csv:what?.csv") == Table("what?.csv")
    with pytest.raises(BadInput, match="Unknown setting of a table 'lable'. Did you mean 'label'"):
        parse_table("csv:x.csv?lable=A")
    with pytest.raises(BadInput, match="Unknown value of kind of a table 'numbers'. Did you mean 'number'"):
        parse_table("csv:x.csv?kind=numbers")
    with pytest.raises(BadInput, match="names no file; write csv:PATH"):
        parse_table("csv:")


NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)


@given(
    path=NAMES,
    text=NAMES,
    pair=NAMES | st.just(""),
    label=NAMES,
    dev=NAMES | st.just(""),
    kind=st.sampled_from(["", "classes", "number"]),
    header=st.sampled_from(["", "yes", "no"]),
)
def test_an_id_reads_back_as_its_table_whatever_the_names(
    path: str, text: str, pair: str, label: str, dev: str, kind: str, header: str
) -> None:
    table = Table(path, text=text, pair=pair, label=label, dev=dev, kind=kind, header=header)
    assert parse_table(table_id(table)) == table


@pytest.mark.parametrize("suffix", TABLE_SUFFIXES)
def test_a_preview_tells_what_is_there_before_anything_is_chosen(tmp_path: Path, suffix: str) -> None:
    found = tables.preview(Table(written(REVIEWS, tmp_path / f"reviews{suffix}")))
    assert (found.rows, found.text, found.pair, found.label) == (60, "review", "", "sentiment")
    columns = {column.name: column for column in found.columns}
    assert columns["sentiment"].classes == {"pos": 40, "neg": 20}
    assert columns["sentiment"].numbers is None
    assert sum(columns["review"].words.counts) == 60
    assert found.first[0]["review"] == REVIEWS["review"][0]
    assert TablePreview.from_dict(json.loads(json.dumps(asdict(found)))) == found


def test_a_preview_of_numbers_is_a_histogram(tmp_path: Path) -> None:
    frame = pd.DataFrame({"text": ["one two", "three"] * 30, "score": [i / 10 for i in range(60)]})
    found = tables.preview(Table(written(frame, tmp_path / "t.csv")))
    columns = {column.name: column for column in found.columns}
    assert columns["score"].numbers is not None
    assert (columns["score"].numbers.low, columns["score"].numbers.high) == (0.0, 5.9)
    assert sum(columns["score"].numbers.counts) == 60
    assert columns["text"].words.counts == (30, 30)
    assert columns["text"].words.edges == (1.0, 2.0, 3.0)


def test_long_cells_are_cut_in_a_preview(tmp_path: Path) -> None:
    frame = pd.DataFrame({"text": ["x" * 5000] * 20, "label": ["a", "b"] * 10})
    found = tables.preview(Table(written(frame, tmp_path / "t.csv")))
    assert len(found.first) == tables.FIRST_ROWS
    assert len(found.first[0]["text"]) == tables.MOST_CHARACTERS


def bomb(folder: Path) -> Path:
    """Twenty gigabytes of text in fifty kilobytes: one long cell, which the file holds once, in 20,000 rows."""
    one = pa.DictionaryArray.from_arrays(pa.array([0] * 20_000, pa.int32()), pa.array(["x" * 1_000_000]))
    table = pa.table({"text": one, "label": pa.array([0, 1] * 10_000)})
    pq.write_table(table, folder / "bomb.parquet", store_schema=False)
    return folder / "bomb.parquet"


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    path = bomb(tmp_path)
    assert path.stat().st_size < 100_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(BadInput, match="bomb.parquet row 1 has 1,000,000 bytes in column 'text'; at most 100,000 char"):
        load_table(Table(str(path)))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000  # kilobytes


def test_what_unpacks_to_too_much_in_many_cells_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "MOST_UNPACKED_MEGABYTES", 2)
    table = pa.table({"text": pa.array(["x" * 1000] * 5000), "label": pa.array(range(5000))})
    pq.write_table(table, tmp_path / "t.parquet")
    assert (tmp_path / "t.parquet").stat().st_size < 50_000
    with pytest.raises(BadInput, match="t.parquet has 3 MB unpacked; at most 2 are allowed"):
        load_table(Table(str(tmp_path / "t.parquet")))


def wide(path: Path, columns: int) -> None:
    """A table of so many columns, in any format."""
    names = [f"c{i}" for i in range(columns)]
    match path.suffix:
        case ".parquet":
            pq.write_table(pa.table({name: [0] for name in names}), path)
        case ".jsonl":
            path.write_text(json.dumps(dict.fromkeys(names, 0)) + "\n")
        case suffix:
            separator = "\t" if suffix == ".tsv" else ","
            path.write_text(f"{separator.join(names)}\n{separator.join(['0'] * columns)}\n")


@pytest.mark.parametrize("suffix", TABLE_SUFFIXES)
def test_a_table_of_too_many_columns_is_refused(tmp_path: Path, suffix: str) -> None:
    wide(tmp_path / f"t{suffix}", 10_000)
    with pytest.raises(BadInput, match=rf"t\{suffix} has 10,000 columns; at most 1,000 are allowed"):
        load_table(Table(str(tmp_path / f"t{suffix}")))


def test_lines_of_which_each_has_other_names_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text("".join(f'{{"name{i}": 1}}\n' for i in range(2000)))
    with pytest.raises(BadInput, match=r"t.jsonl has 1,001 columns"):
        load_table(Table(str(path)))


def test_too_many_cells_are_refused_while_they_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "t.csv"
    path.write_text(",".join(f"c{i}" for i in range(500)) + "\n" + (",".join("0" * 500) + "\n") * 3000)
    monkeypatch.setattr(cells, "MOST_CELLS", 999_999)
    with pytest.raises(BadInput, match=r"t.csv has 1,000,000 cells; at most 999,999"):
        load_table(Table(str(path)))


GOOD = "".join(f"a film {i},{'good' if i % 2 else 'bad'}\n" for i in range(40))


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("t.csv", f"text,label\n{GOOD}a\0b,good\n", r"t.csv is no text: byte \d+ is NUL"),
        ("t.csv", "text,label\n" + "x" * 100_001 + f",good\n{GOOD}", r"row 1 has 100,001 characters in column 'text'"),
        ("t.csv", "x" * 200_000, r"t.csv has a first row of more than 100,000 characters"),
        (
            "t.csv",
            f'text,label\n"a, b",good\n"{GOOD}',
            r"t.csv line 42: the file ends within a cell that begins with a",
        ),
        (
            "t.csv",
            f'text,label\n"a, b",good\n"c" d,good\n{GOOD}',
            r"t.csv line 3: a cell that begins with a quote goes",
        ),
        ("t.csv", f"text,label\n{GOOD}only text\n", r"t.csv row 41 has no label"),
        ("t.csv", "text,label\n".encode("utf-16") + b"\0", r"t.csv is not UTF-16: byte 24 cannot be read"),
        (
            "t.csv",
            "text,label\n" + "".join(f"a {i},{i / 7}\n" for i in range(60)) + "b,nan\n",
            r"row 61: label 'nan' is no",
        ),
        (
            "t.csv",
            "text,label\n" + "".join(f"a {i},{i / 7}\n" for i in range(60)) + "b,1e999\n",
            r"label '1e999' is no",
        ),
        ("t.jsonl", '{"text": NaN}', r"t.jsonl line 1 is no JSON: invalid character"),
        ("t.jsonl", "[1, 2]", r"t.jsonl line 1 cannot be used: expected `object`, got `array`"),
        ("t.jsonl", '{"text": "\\ud800", "label": 1}', r"t.jsonl line 1 is no JSON"),
        ("t.jsonl", '{"a":' * 5000, r"t.jsonl line 1 is no JSON that can be read: it is nested too deeply"),
        (
            "t.jsonl",
            '{"text": "a", "label": 1' + "0" * 5000 + "}",
            r"t.jsonl (line 1 is no JSON|cannot be read|has one label)",
        ),
    ],
)
def test_what_only_looks_like_a_table_is_refused_in_one_sentence(
    tmp_path: Path, name: str, content: str | bytes, sentence: str
) -> None:
    (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
    for read in (load_table, tables.preview):
        if read is tables.preview and "label" in sentence:
            continue  # what is no label is said when it is chosen
        with pytest.raises(BadInput, match=sentence):
            read(Table(str(tmp_path / name)))


@pytest.mark.parametrize("values", [("1e308", "-1e308"), ("1e300", "1e300"), ("5e-324", "1e-323"), ("9" * 400, "0")])
def test_numbers_that_no_histogram_can_show_are_shown_as_words(tmp_path: Path, values: tuple[str, str]) -> None:
    path = tmp_path / "t.csv"
    path.write_text("text,score\n" + "".join(f"film {i},{values[i % 2]}\n" for i in range(20)))
    column = tables.preview(Table(str(path))).columns[1]
    assert column.numbers is None
    assert sum(column.classes.values()) == 20


def test_numbers_of_parquet_that_may_be_missing_stay_whole_numbers(tmp_path: Path) -> None:
    table = pa.table({"text": ["a", "b"], "label": pa.array([1, None], pa.int64()), "words": [["a"], ["b"]]})
    pq.write_table(table, tmp_path / "t.parquet")
    sheet = tables.read_sheet(tmp_path / "t.parquet")
    assert sheet.frame.to_dict("list") == {"text": ["a", "b"], "label": ["1", ""]}
    assert list(sheet.left_out) == ["words"]  # lists are no cells


# =============================================================================
# Files as people have them: each row is a kind
# =============================================================================

ROWS = [(f"a film {i}, seen {'with joy' if i % 2 else 'in vain'}", "good" if i % 2 else "bad") for i in range(40)]


def lines(
    separator: str = ",", header: str = "text,label", quote: bool = True, rows: Sequence[Sequence[str]] = ROWS
) -> str:
    """The rows with this separator, texts in quotes or not, under that header."""
    written = [separator.join([f'"{text}"' if quote else text, *rest]) for text, *rest in rows]
    return "\n".join([*filter(None, [header]), *written]) + "\n"


def relabelled(*labels: str) -> list[tuple[str, str]]:
    """The same texts with these labels in turn."""
    return [(text, labels[i % len(labels)]) for i, (text, _) in enumerate(ROWS)]


NOT_QUOTED = [(text.replace(",", " and"), label) for text, label in ROWS]
STRAY = [
    (f'"{text}' if i in (3, 9) else f'12" {text}' if i == 5 else text, label)
    for i, (text, label) in enumerate(NOT_QUOTED)
]
ESCAPED = [(f'he said \\"no\\", {text}', label) for text, label in ROWS]
DOUBLED = [(f'he said ""no"", {text}', label) for text, label in ROWS]

DIALECTS: dict[str, tuple[str, str | bytes, int, str]] = {
    # what it is: (file, content, rows, a part of what is said)
    "usual": ("t.csv", lines(), 40, "t.csv has 40 rows in 41 lines."),
    "semicolons": ("t.csv", lines(";", "text;label", quote=False), 40, "Semicolons stand between its cells."),
    "semicolons and a comma in the header": ("t.csv", lines(";", "text, whole;label", quote=False), 40, "Semicolons"),
    "vertical bars": ("t.csv", lines("|", "text|label", quote=False), 40, "Vertical bars"),
    "tabs in a CSV": ("t.csv", lines("\t", "text\tlabel", quote=False), 40, "Tabs"),
    "commas in a TSV": ("t.tsv", lines(), 40, "Commas"),
    "Excel's first line": ("t.csv", "sep=;\n" + lines(";", "text;label", quote=False), 40, "Its first line states"),
    "carriage returns": ("t.csv", lines().replace("\n", "\r"), 40, "40 rows in 41 lines"),
    "Windows line ends in a TSV": ("t.tsv", lines("\t", "text\tlabel", False).replace("\n", "\r\n"), 40, "label"),
    "UTF-8 with a mark": ("t.csv", lines().encode("utf-8-sig"), 40, "Text is column 'text'"),
    "UTF-16 with a mark": ("t.csv", lines().encode("utf-16"), 40, "It is UTF-16."),
    "UTF-16 without a mark": ("t.csv", lines().encode("utf-16-be"), 40, "was read as UTF-16-BE"),
    "UTF-32": ("t.tsv", lines("\t", "text\tlabel", False).encode("utf-32"), 40, "It is UTF-32."),
    "of Windows": ("t.csv", lines().replace("film 7", "café 7").encode("cp1252"), 40, "cp1252, for example 'café'"),
    "quotes in a TSV": ("t.tsv", lines("\t", "text\tlabel", False, STRAY), 40, "2 cells begin with a quote; in a TSV"),
    "quoted cells over lines in a TSV": (
        "t.tsv",
        lines("\t", "text\tlabel", rows=[(text.replace(", ", "\n"), label) for text, label in ROWS]),
        40,
        "Its cells stand in quotes",
    ),
    "stray quotes in a CSV": ("t.csv", lines(quote=False, rows=STRAY), 40, "quotes were read as characters"),
    "quotes of inches, which swallow rows": (
        "t.csv",
        lines(quote=False, rows=[('"seven', "bad"), *NOT_QUOTED[:8], ('a screen of 12"', "bad"), *NOT_QUOTED[8:]]),
        42,
        "quotes were read as characters",
    ),
    "quotes after backslashes": ("t.csv", lines(rows=ESCAPED), 40, "Backslashes stand before quotes"),
    "quotes written twice": ("t.csv", lines(rows=DOUBLED), 40, 'First rows: \'he said "no", a film 0'),
    "cells over lines": ("t.csv", lines(rows=[(t.replace(", ", ",\n"), y) for t, y in ROWS]), 40, "in 81 lines"),
    "spaces around names": ("t.csv", "text , label\n" + lines(header=""), 40, "label is column 'label'"),
    "spaces before quotes": ("t.csv", lines(", ", "text, label"), 40, "label is column 'label'"),
    "empty columns": ("t.csv", lines(",", "text,label,,").replace('d"', 'd"'), 40, "2 columns without a name"),
    "empty cells beyond the header": ("t.csv", lines(rows=[(*row, "", "") for row in ROWS]), 40, "40 rows"),
    "columns named NA and null": (
        "t.csv",
        lines(header="text,label,NA,null", rows=[(*r, "1", "2") for r in ROWS]),
        40,
        "",
    ),
    "an index of pandas": ("t.csv", "," + lines().replace('\n"', '\n7,"'), 40, "Text is column 'text'"),
    "empty rows": ("t.csv", lines().replace("\n", "\n,,\n\n"), 40, "40 rows in 123 lines"),
    "no header": ("t.csv", lines(header=""), 40, "Its first row is data"),
    "no header in a TSV": ("t.tsv", lines("\t", "", False), 40, "Text is column '1'; label is column '2'"),
    "no header and numbers": (
        "t.csv",
        lines(header="", rows=relabelled("0.5", "1.25")),
        40,
        "a number from 0.5 to 1.25",
    ),
    "no header and names of columns as labels": ("t.csv", lines(header="", rows=relabelled("y", "n")), 40, "is data"),
    "a header that pandas made up": ("t.csv", lines(header="0,1"), 40, "Text is column '0'; label is column '1'"),
}


@pytest.mark.parametrize("kind", DIALECTS)
def test_a_table_as_people_have_them_is_read_whole_and_said(tmp_path: Path, kind: str) -> None:
    name, content, rows, said = DIALECTS[kind]
    (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
    chosen = load_table(Table(str(tmp_path / name)))
    assert len(chosen.data.train) + len(chosen.data.dev) == rows
    assert len(chosen.labels) in (0, 2)
    assert said in " ".join(chosen.data.notes)
    assert not chosen.table.pair
    seen = tables.preview(chosen.table)
    assert (seen.rows, seen.text, seen.label) == (rows, chosen.table.text, chosen.table.label)
    assert all(note in chosen.data.notes for note in seen.notes)


@pytest.mark.parametrize(
    ("labels", "kind", "expected"),
    [
        (("0.0", "1.0"), "", ("0", "1")),
        (("0", "1.0", "1", "0.0"), "", ("0", "1")),
        (("1.0", "2.0", "3.0", "4.0", "5.0"), "", ("1", "2", "3", "4", "5")),
        (("1.0", "2.0", "3.0", "4.0", "5.0"), "number", ()),
        (("-1", "1"), "", ("-1", "1")),
        (("0.5", "1.0", "1.5"), "", ()),
        (("0.5", "1.0", "1.5"), "classes", ("0.5", "1", "1.5")),
        (('"1,5"', '"2,0"'), "", ()),
        (('"1,5"', '"2,0"'), "classes", ("1.5", "2")),
        (("01", "02"), "", ("01", "02")),
        (("TRUE", "FALSE"), "", ("FALSE", "TRUE")),
        (("none", "some"), "", ("none", "some")),
    ],
)
def test_what_labels_are_is_noticed_and_can_be_said(
    tmp_path: Path, labels: tuple[str, ...], kind: str, expected: tuple[str, ...]
) -> None:
    (tmp_path / "t.csv").write_text(lines(rows=relabelled(*labels)))
    chosen = load_table(Table(str(tmp_path / "t.csv"), kind=kind))
    assert chosen.labels == expected
    seen = tables.preview(Table(str(tmp_path / "t.csv"))).columns[1]
    assert seen.numeric or not kind
    if not kind:
        assert seen.kind == ("classes" if expected else "number")
        assert not expected or set(seen.classes) == set(expected)


@pytest.mark.parametrize("labels", [[f"intent {i}" for i in range(51)], [str(i) for i in range(51)]])
def test_too_many_classes_are_too_many_whether_named_or_numbered(tmp_path: Path, labels: list[str]) -> None:
    (tmp_path / "t.csv").write_text(lines(rows=[(f"text {i}", labels[i % 51]) for i in range(51 * 4)]))
    table = Table(str(tmp_path / "t.csv"))
    with pytest.raises(BadInput, match="t.csv has 51 different (numbers as )?labels; at most 50 are allowed"):
        load_table(table)
    if labels[0] == "0":
        assert load_table(replace(table, kind="number")).labels == ()
        assert tables.preview(table).columns[1].kind == ""
    else:
        with pytest.raises(BadInput, match="t.csv row 1: label 'intent 0' is no finite number"):
            load_table(replace(table, kind="number"))


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        (('"1,250"', '"2,500"'), "row 1: label '1,250' can be read as more than one number"),
        (('"1.250,5"', "2"), "row 1: label '1.250,5' can be read as more than one number"),
        (("0", "1", "nan"), "row 3: label 'nan' is no finite number"),
        (("0", "1", "NULL"), "row 3: label 'NULL' is no finite number"),
        (("0", "1", ""), "row 3 has no label"),
        (("1.0", "1"), "has one label only, '1'"),
    ],
)
def test_labels_that_could_mean_two_things_are_named(tmp_path: Path, labels: tuple[str, ...], sentence: str) -> None:
    (tmp_path / "t.csv").write_text(lines(rows=relabelled(*labels)))
    with pytest.raises(BadInput, match=sentence):
        load_table(Table(str(tmp_path / "t.csv")))


@pytest.mark.parametrize(
    ("train", "dev", "kind"),
    [
        (("0", "1"), ("0.0", "1.0"), "classes"),
        (("0.0", "1.0"), ("0", "1"), "classes"),
        (("0.5", "1.5"), ("1", "2"), "number"),
        (("0.5", "1.5"), ('"0,5"', '"1,5"'), "number"),
    ],
)
def test_train_and_dev_are_held_to_one_decision(
    tmp_path: Path, train: tuple[str, ...], dev: tuple[str, ...], kind: str
) -> None:
    (tmp_path / "t.csv").write_text(lines(rows=relabelled(*train)))
    (tmp_path / "dev.csv").write_text(lines(rows=[(f"dev {text}", label) for text, label in relabelled(*dev)]))
    chosen = load_table(Table(str(tmp_path / "t.csv"), dev=str(tmp_path / "dev.csv")))
    assert bool(chosen.labels) == (kind == "classes")
    assert {type(example.label) for example in (*chosen.data.train, *chosen.data.dev)} == {
        int if chosen.labels else float
    }


def test_classes_of_train_hold_for_dev(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(lines(rows=relabelled("0", "1")))
    (tmp_path / "dev.csv").write_text(lines(rows=relabelled("0", "0.5")))
    with pytest.raises(BadInput, match="dev.csv row 2: label '0.5' is none of 0, 1"):
        load_table(Table(str(tmp_path / "t.csv"), dev=str(tmp_path / "dev.csv")))


def test_the_first_row_is_what_is_said_of_it_in_train_and_dev(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(lines(header=""))
    (tmp_path / "dev.csv").write_text(lines(header="", rows=[("dev text", "bad"), ("another", "good")]))
    table = Table(str(tmp_path / "t.csv"), dev=str(tmp_path / "dev.csv"))
    assert len(load_table(table).data.dev) == 2
    with pytest.raises(BadInput, match="dev.csv has no column 'a film 0, seen in vain'; it has dev text, bad"):
        load_table(replace(table, header="yes"))
    (tmp_path / "t.csv").write_text(lines())
    with pytest.raises(BadInput, match="row 1: label 'label' stands in 1 rows"):
        load_table(Table(str(tmp_path / "t.csv"), header="no"))
    path = written(REVIEWS, tmp_path / "t.jsonl")
    with pytest.raises(BadInput, match="t.jsonl names its columns by itself; header=no is for .csv and .tsv"):
        load_table(Table(path, header="no"))


@pytest.mark.parametrize(
    ("header", "rows", "columns"),
    [
        ("id,comment,fold,verdict", ("train", "bad"), ("comment", "", "verdict")),
        ("id,comment,part,verdict", ("test", "bad"), ("comment", "", "verdict")),
        ("Quality,#1 ID,#2 ID,#1 String,#2 String", (), ("#1 String", "#2 String", "Quality")),
        ("index,question,sentence,label", (), ("question", "sentence", "label")),
        ("index,question1,question2,is_duplicate", (), ("question1", "question2", "is_duplicate")),
        ("id,headline_1,headline_2,verdict", (), ("headline_1", "headline_2", "verdict")),
        ("Body,Option1,Option2,Stars", (), ("Body", "", "Stars")),
    ],
)
def test_columns_are_guessed_by_their_names_and_contents(
    tmp_path: Path, header: str, rows: tuple[str, ...], columns: tuple[str, str, str]
) -> None:
    names = header.split(",")
    split = ("train", "test") if rows else ("", "")

    def cell(name: str, i: int) -> str:
        if name in ("fold", "part"):
            return split[i % 2]
        if name == columns[2]:
            return str(i % 3)
        return str(i) if name.lower().endswith("id") or name == "index" else f"{name} of row {i}"

    table = [",".join(cell(name, i) for name in names) for i in range(30)]
    (tmp_path / "t.csv").write_text("\n".join([header, *table]) + "\n")
    chosen = load_table(Table(str(tmp_path / "t.csv"))).table
    assert (chosen.text, chosen.pair, chosen.label) == columns


@pytest.mark.parametrize(
    ("text", "label", "sentence"),
    [
        (["a", "film"], "good", r"has lists \(line 1\) in column 'text', and a cell is a text or a number"),
        ("a film", ["good", "new"], r"has lists \(line 1\) in column 'label'"),
        ("a film", {"name": "good"}, r"has objects \(line 1\) in column 'label'"),
        ("a film", [0, 1], r"has lists \(line 1\) in column 'label'"),
    ],
)
@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_lists_and_objects_are_no_cells(
    tmp_path: Path, suffix: str, text: object, label: object, sentence: str
) -> None:
    frame = pd.DataFrame({"id": range(20), "text": [text] * 20, "label": [label] * 20, "kind": ["a", "b"] * 10})
    path = written(frame, tmp_path / f"t{suffix}")
    expected = (
        sentence
        if suffix == ".jsonl"
        else sentence.replace(r"lists \(line 1\)", "list<")
        .replace(r"objects \(line 1\)", "struct<")
        .partition(" in column")[0]
    )
    with pytest.raises(BadInput, match=expected):
        load_table(Table(path))
    column = "text" if text != "a film" else "label"
    with pytest.raises(BadInput, match=f"in column {column!r}; a cell is a text or a number"):
        load_table(Table(path, text="text", label="label"))
    assert column not in [seen.name for seen in tables.preview(Table(path)).columns]


TEXT_TYPES = [
    pa.string(),
    pa.large_string(),
    pa.binary(),
    pa.large_binary(),
    pa.binary(25),
    pa.dictionary(pa.int32(), pa.binary()),
]


@pytest.mark.parametrize("kind", TEXT_TYPES, ids=str)
@pytest.mark.parametrize("store_schema", [True, False])
def test_text_of_parquet_may_be_bytes(tmp_path: Path, kind: pa.DataType, store_schema: bool) -> None:
    texts = [f"ein Büchlein, das {i:06}".encode() for i in range(20)]
    column = pa.array(texts).cast(pa.string()) if pa.types.is_string(kind) else pa.array(texts)
    column = (
        column.dictionary_encode()
        if pa.types.is_dictionary(kind)
        else column.cast(pa.string() if pa.types.is_large_string(kind) else pa.binary()).cast(kind)
    )
    table = pa.table({"text": column, "label": pa.array([b"good", b"bad"] * 10)})
    pq.write_table(table, tmp_path / "t.parquet", store_schema=store_schema)
    chosen = load_table(Table(str(tmp_path / "t.parquet")))
    assert chosen.labels == ("bad", "good")
    assert ("ein Büchlein, das 000007",) in {example.texts for example in (*chosen.data.train, *chosen.data.dev)}


def test_bytes_that_are_no_text_are_named(tmp_path: Path) -> None:
    table = pa.table({"text": [f"caf\xe9 {i}".encode("latin-1") for i in range(20)], "label": ["a", "b"] * 10})
    pq.write_table(table, tmp_path / "t.parquet")
    with pytest.raises(BadInput, match="t.parquet has bytes that are no UTF-8 in column 'text'"):
        load_table(Table(str(tmp_path / "t.parquet")))


def test_an_encoding_can_be_said(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(lines().replace("film", "фильм").encode("cp1251"))
    with pytest.raises(BadInput, match="t.csv is not UTF-8: byte 14 cannot be read; save it as UTF-8, or name its"):
        load_table(Table(str(tmp_path / "t.csv")))
    chosen = load_table(Table(str(tmp_path / "t.csv"), encoding="cp1251"))
    assert "a фильм 0, seen in vain" in chosen.data.notes[2]
    for name in ("klingon", "zip", "rot13", "undefined"):
        with pytest.raises(BadInput, match=f"Encoding '{name}' is not known"):
            load_table(Table(str(tmp_path / "t.csv"), encoding=name))


def test_utf_8_with_one_bad_byte_is_not_read_as_something_else(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(lines().replace("film", "café").encode() + b"caf\xe9,good\n")
    with pytest.raises(BadInput, match=r"t.csv is not UTF-8: byte \d+ cannot be read"):
        load_table(Table(str(tmp_path / "t.csv")))


@pytest.mark.parametrize(
    "path", ["CoLA/dev.tsv", "MRPC/train.tsv", "STS-B/train.tsv", "RTE/train.tsv", "WNLI/train.tsv"]
)
def test_the_real_files_of_glue_are_read_as_tables_too(shared: Path, path: str) -> None:
    task = {row.glue: name for name, row in TASKS.items() if row.glue}[path.partition("/")[0]]
    expected = load_glue(task, shared / "glue" / path.partition("/")[0])
    examples = expected.dev if "dev" in path else expected.train
    chosen = load_table(Table(str(shared / "glue" / path)))
    found = {example.texts for example in (*chosen.data.train, *chosen.data.dev)}
    assert found == {example.texts for example in examples}
    assert chosen.data.notes[0].startswith(f"{Path(path).name} has {len(examples):,} rows in ")
