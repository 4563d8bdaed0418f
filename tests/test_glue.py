"""GLUE in its official layout: small made-up files with every oddity of the real ones, and the real ones themselves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pmb.catalog.tasks import PAPER_AVERAGE, TASKS
from pmb.engine.data import inspect_task
from pmb.engine.glue import LAYOUTS, load_glue
from pmb.errors import BadInput

HEADERS = {
    "sst2": "sentence\tlabel",
    "mrpc": "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String",
    "rte": "index\tsentence1\tsentence2\tlabel",
    "cola": "",
    "stsb": "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore",
    "qnli": "index\tquestion\tsentence\tlabel",
    "qqp": "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate",
    "mnli": "index\tsentence1\tsentence2\tlabel1\tgold_label",
    "wnli": "index\tsentence1\tsentence2\tlabel",
}


def line(task: str, number: int, label: str) -> str:
    """One line of the task's files; every other cell says what it is."""
    layout = LAYOUTS[task]
    columns = layout.columns or tuple(HEADERS[task].split("\t"))
    cells = {name: f"{name} {number}" for name in columns} | {layout.label: label}
    return "\t".join(cells[name] for name in columns)


def write(folder: Path, task: str, lines: list[str], file: str = "train.tsv") -> None:
    content = "\n".join([*filter(None, [HEADERS[task]]), *lines]) + "\n"
    (folder / file).write_text(content, encoding="utf-8")


@pytest.fixture
def official(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A folder with train and dev of the task, each label once."""
    task = request.param
    for file in ("train.tsv", *(name for _, name in LAYOUTS[task].dev)):
        labels = LAYOUTS[task].coding or ("0.0", "2.5", "5.0")
        write(tmp_path, task, [line(task, number, label) for number, label in enumerate(labels)], file)
    return tmp_path


@pytest.mark.parametrize(("official", "task"), [(task, task) for task in LAYOUTS], indirect=["official"])
def test_every_task_is_read_with_its_labels_in_the_catalogs_order(official: Path, task: str) -> None:
    found = load_glue(task, official)
    row = TASKS[task]
    expected = list(range(len(row.labels))) if row.labels else [0.0, 2.5, 5.0]
    assert [example.label for example in found.dev] == expected
    assert len(LAYOUTS[task].coding) == len(row.labels)
    assert {len(example.texts) for example in (*found.train, *found.dev)} == {2 if row.pair else 1}
    assert found.dev[0].texts == tuple(f"{name} 0" for name in LAYOUTS[task].texts)
    assert not found.notes


def test_the_catalog_and_the_layouts_know_the_same_tasks() -> None:
    assert {task for task, row in TASKS.items() if row.glue} == set(LAYOUTS)
    assert len(PAPER_AVERAGE) == 7
    assert set(PAPER_AVERAGE) == set(LAYOUTS) - {"cola", "wnli"}
    assert "below chance" in TASKS["wnli"].warning


@pytest.mark.parametrize("official", ["mnli"], indirect=True)
def test_mnli_has_two_dev_sets_and_lines_without_a_label(official: Path) -> None:
    write(official, "mnli", [line("mnli", 0, "-"), line("mnli", 1, "neutral")], "dev_mismatched.tsv")
    found = load_glue("mnli", official)
    assert len(found.dev) == 3
    assert [example.label for example in found.more_dev["mismatched"]] == [1]
    assert found.notes == ("dev_mismatched.tsv: left out line 2, which has no label.",)


@pytest.mark.parametrize("official", ["sst2"], indirect=True)
def test_quotes_are_characters_and_so_is_any_line_end_but_the_newline(official: Path) -> None:
    odd = 'he said "no\t1'
    (official / "train.tsv").write_bytes(f'sentence\tlabel\r\n{odd}\r\nnext\x0bline "\t0\r\n'.encode())
    assert {example.texts for example in load_glue("sst2", official).train} == {('he said "no',), ('next\x0bline "',)}


@pytest.mark.parametrize("official", ["rte"], indirect=True)
def test_ragged_lines_are_named_and_not_dropped_in_silence(official: Path) -> None:
    good = [line("rte", number, "entailment") for number in range(3)]
    write(official, "rte", [good[0], "7\tonly one", good[1], *["8\tshort"] * 6, good[2]])
    found = load_glue("rte", official)
    assert len(found.train) == 3
    named = [number for number in (3, 5, 6, 7, 8) if f"line {number}, which has 2 of 4 columns" in found.notes[0]]
    assert named == [3, 5, 6, 7, 8]
    assert found.notes[0].endswith("and 2 more.")


@pytest.mark.parametrize("official", ["mrpc"], indirect=True)
def test_mrpc_is_read_from_microsofts_file_too(official: Path) -> None:
    lines = [f"{number % 2}\t{number}\t{number + 10}\tone {number}\ttwo {number}" for number in range(4)]
    (official / "train.tsv").unlink()
    content = "\ufeff" + "\r\n".join([HEADERS["mrpc"], *lines]) + "\r\n"
    (official / "msr_paraphrase_train.txt").write_text(content, encoding="utf-8", newline="")
    with pytest.raises(BadInput, match=r"has msr_paraphrase_train.txt but not dev_ids.tsv"):
        load_glue("mrpc", official)
    (official / "dev_ids.tsv").write_text("2\t12\n", encoding="utf-8")
    found = load_glue("mrpc", official)
    assert [example.texts for example in found.dev] == [("one 2", "two 2")]
    assert len(found.train) == 3


@pytest.mark.parametrize(
    ("official", "task", "file", "content", "sentence"),
    [
        ("rte", "rte", "train.tsv", None, r"train.tsv is not there; the official GLUE layout has it"),
        ("rte", "rte", "dev.tsv", HEADERS["rte"], r"dev.tsv has no examples"),
        ("rte", "rte", "train.tsv", "index\tsentence1\tlabel", r"has no column 'sentence2'; it has index, sentence1"),
        ("rte", "rte", "dev.tsv", HEADERS["rte"] + "\n1\ta\tb\tmaybe", r"dev.tsv line 2: label 'maybe' is none of ent"),
        (
            "stsb",
            "stsb",
            "dev.tsv",
            HEADERS["stsb"] + "\n" + "a\t" * 9 + "much",
            r"line 2: score 'much' is not a",
        ),
        (
            "stsb",
            "stsb",
            "dev.tsv",
            HEADERS["stsb"] + "\n" + "a\t" * 9 + "nan",
            r"line 2: score 'nan' is no finite number",
        ),
        (
            "rte",
            "rte",
            "dev.tsv",
            HEADERS["rte"] + "\n1\ta\0\tb\tentailment",
            r"dev.tsv is no text: character 35 is NUL",
        ),
        (
            "rte",
            "rte",
            "dev.tsv",
            HEADERS["rte"] + f"\n1\t{'x' * 100_001}\tb\tentailment",
            r"line 2 has a text of 100,001",
        ),
        ("rte", "rte", "train.tsv", "\t".join(["c"] * 1002), r"line 1 has more than 1,000 columns"),
        ("sst2", "sst2", "train.tsv", "sentence\tlabel\nb\udce9\t1", r"train.tsv is not UTF-8: byte 16 cannot be read"),
    ],
    indirect=["official"],
)
def test_faults_name_the_file_and_the_line(
    official: Path, task: str, file: str, content: str | None, sentence: str
) -> None:
    (official / file).unlink()
    if content is not None:
        (official / file).write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(BadInput, match=sentence):
        load_glue(task, official)


@pytest.mark.parametrize("task", ["sst2", "mrpc", "rte", "cola", "stsb", "wnli"])
def test_the_real_files_have_the_catalogs_sizes_and_revisions(shared: Path, tmp_path: Path, task: str) -> None:
    row = replace(TASKS[task], folder=str(shared / "glue" / TASKS[task].glue))
    found, notes = inspect_task(row, tmp_path, lambda _: None)
    assert found == row
    assert not notes
