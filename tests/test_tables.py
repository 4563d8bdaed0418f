"""A user's own tables: every format, guessed columns, the fixed split, and every fault named with its row."""

from __future__ import annotations

import json
import resource
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pmb.catalog.tasks import TABLE_SUFFIXES, Table, parse_table, table_id
from pmb.engine import parquet, tables
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
        ("t.jsonl", b'{"text": "a"\n', r"t.jsonl line 1 is no JSON: Input data was truncated"),
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
    monkeypatch.setattr(parquet, "MOST_ROWS", 50)
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


def test_too_many_cells_are_refused_from_the_number_of_lines(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(",".join(f"c{i}" for i in range(500)) + "\n" + "\n" * 50_000)
    with pytest.raises(BadInput, match=r"t.csv has 25,000,000 cells; at most 20,000,000"):
        load_table(Table(str(path)))


GOOD = "".join(f"a film {i},{'good' if i % 2 else 'bad'}\n" for i in range(40))


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("t.csv", f"text,label\n{GOOD}a\0b,good\n", r"t.csv is no text: byte \d+ is NUL"),
        ("t.csv", "text,label\n" + "x" * 100_001 + f",good\n{GOOD}", r"row 1 has 100,001 characters in column 'text'"),
        ("t.csv", "x" * 200_000, r"t.csv has a first line of more than 100,000 characters"),
        ("t.csv", f'text,label\n"{GOOD}', r"t.csv cannot be read: EOF inside string starting at row 1"),
        ("t.csv", f"text,label\n{GOOD}only text\n", r"t.csv row 41 has no label"),
        ("t.csv", "text,label\n".encode("utf-16") * 40, r"t.csv is (no text: byte \d+ is NUL|not UTF-8)"),
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
    for read in (lambda path: load_table(Table(str(path))), tables.preview):
        if read is tables.preview and "label" in sentence:
            continue  # what is no label is said when it is chosen
        with pytest.raises(BadInput, match=sentence):
            read(tmp_path / name)


@pytest.mark.parametrize("values", [("1e308", "-1e308"), ("1e300", "1e300"), ("5e-324", "1e-323"), ("9" * 400, "0")])
def test_numbers_that_no_histogram_can_show_are_shown_as_words(tmp_path: Path, values: tuple[str, str]) -> None:
    path = tmp_path / "t.csv"
    path.write_text("text,score\n" + "".join(f"film {i},{values[i % 2]}\n" for i in range(20)))
    column = tables.preview(path).columns[1]
    assert column.numbers is None
    assert sum(column.classes.values()) == 20


def test_numbers_of_parquet_that_may_be_missing_stay_whole_numbers(tmp_path: Path) -> None:
    table = pa.table({"text": ["a", "b"], "label": pa.array([1, None], pa.int64()), "words": [["a"], ["b"]]})
    pq.write_table(table, tmp_path / "t.parquet")
    frame = tables.read_frame(tmp_path / "t.parquet")
    assert frame.to_dict("list") == {"text": ["a", "b"], "label": ["1", ""]}  # lists are no cells
