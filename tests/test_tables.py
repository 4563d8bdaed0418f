"""A user's own tables: every format, guessed columns, the fixed split, and every fault named with its row."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pmb.catalog.tasks import TABLE_SUFFIXES, Table, parse_table, table_id
from pmb.engine import tables
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
    assert chosen.data == load_table(Table(written(REVIEWS, tmp_path / "again.csv"))).data


def test_the_split_is_stratified_fixed_and_without_shared_sentences(tmp_path: Path) -> None:
    data = load_table(Table(written(REVIEWS, tmp_path / "a.csv"))).data
    shuffled = load_table(Table(written(REVIEWS.sample(frac=1, random_state=1), tmp_path / "b.csv"))).data
    assert data == shuffled
    assert Counter(e.label for e in data.dev) == {0: 4, 1: 8}
    assert len(data.train) == 48
    assert not {e.texts for e in data.train} & {e.texts for e in data.dev}
    assert data.notes == ("12 of 60 rows were set aside as dev, of each label alike.",)


def test_sentences_of_dev_are_taken_out_of_train_and_said(tmp_path: Path) -> None:
    dev = written(REVIEWS.head(9), tmp_path / "dev.csv")
    data = load_table(Table(written(REVIEWS, tmp_path / "a.csv"), dev=dev)).data
    assert (len(data.train), len(data.dev)) == (51, 9)
    assert data.notes == ("9 train rows stand in dev too and were left out of train.",)


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
        ("t.csv", b"text,label\na,1\nb,2,3\n", r"t.csv cannot be read: Expected 2 fields in line 3, saw 3"),
        ("t.csv", b"text,label\nb\xe9,1\n", r"t.csv is not UTF-8"),
        ("t.jsonl", b'{"text": "a"\n', r"t.jsonl cannot be read"),
        ("t.parquet", b"nothing", r"t.parquet cannot be read"),
        ("t.xlsx", b"nothing", r"t.xlsx is no table that can be read: .csv, .tsv, .jsonl, .parquet are"),
        ("t.csv", b"text,text,label\na,b,c\n", r"t.csv cannot be read: it has two columns named 'text'"),
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
    monkeypatch.setattr(tables, "MOST_ROWS", 50)
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
    with pytest.raises(BadInput, match="names no file; write csv:PATH"):
        parse_table("csv:")


NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)


@given(path=NAMES, text=NAMES, pair=NAMES | st.just(""), label=NAMES, dev=NAMES | st.just(""))
def test_an_id_reads_back_as_its_table_whatever_the_names(
    path: str, text: str, pair: str, label: str, dev: str
) -> None:
    table = Table(path, text=text, pair=pair, label=label, dev=dev)
    assert parse_table(table_id(table)) == table


@pytest.mark.parametrize("suffix", TABLE_SUFFIXES)
def test_a_preview_tells_what_is_there_before_anything_is_chosen(tmp_path: Path, suffix: str) -> None:
    found = tables.preview(Path(written(REVIEWS, tmp_path / f"reviews{suffix}")))
    assert (found.rows, found.text, found.pair, found.label) == (60, "review", "", "sentiment")
    columns = {column.name: column for column in found.columns}
    assert columns["sentiment"].classes == {"pos": 40, "neg": 20}
    assert columns["sentiment"].numbers is None
    assert sum(columns["review"].words.counts) == 60
    assert found.first[0]["review"] == REVIEWS["review"][0]
    assert TablePreview.from_dict(json.loads(json.dumps(asdict(found)))) == found


def test_a_preview_of_numbers_is_a_histogram(tmp_path: Path) -> None:
    frame = pd.DataFrame({"text": ["one two", "three"] * 30, "score": [i / 10 for i in range(60)]})
    found = tables.preview(Path(written(frame, tmp_path / "t.csv")))
    columns = {column.name: column for column in found.columns}
    assert columns["score"].numbers is not None
    assert (columns["score"].numbers.low, columns["score"].numbers.high) == (0.0, 5.9)
    assert sum(columns["score"].numbers.counts) == 60
    assert columns["text"].words.counts == (30, 30)
    assert columns["text"].words.edges == (1.0, 2.0, 3.0)


def test_long_cells_are_cut_in_a_preview(tmp_path: Path) -> None:
    frame = pd.DataFrame({"text": ["x" * 5000] * 20, "label": ["a", "b"] * 10})
    found = tables.preview(Path(written(frame, tmp_path / "t.csv")))
    assert len(found.first) == tables.FIRST_ROWS
    assert len(found.first[0]["text"]) == tables.MOST_CHARACTERS
