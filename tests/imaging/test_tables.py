"""TSV, CSV and JSON: missing numbers, odd text, and what is refused."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from score_jax.errors import DatasetError
from score_jax.imaging import read_columns, read_json, read_table, write_json, write_tsv


def test_tsv_by_hand(tmp_path):
    path = tmp_path / "a.tsv"
    rows = [
        {"case": "a\tb", "dice": 0.1, "n": np.int64(3)},
        {"case": "ü", "dice": math.nan, "extra": None},
        {"case": True, "dice": np.float32(0.5), "n": math.inf},
    ]
    write_tsv(path, rows)
    assert path.read_bytes().decode() == (
        "case\tdice\tn\textra\na b\t0.1\t3\tn/a\nü\tn/a\tn/a\tn/a\nTrue\t0.5\tn/a\tn/a\n"
    )
    assert read_table(path)[1] == {"case": "ü", "dice": None, "n": None, "extra": None}
    columns = read_columns(path)
    np.testing.assert_array_equal(columns["dice"], [0.1, np.nan, 0.5])
    np.testing.assert_array_equal(columns["case"], ["a b", "ü", "True"])
    assert columns["extra"].dtype == float
    write_tsv(path, rows, columns=["n", "case"])
    assert path.read_text(encoding="utf-8").splitlines()[0] == "n\tcase"
    write_tsv(path, [], columns=["n"])
    assert read_table(path) == []
    assert read_columns(path) == {}


def test_csv_with_quotes_bom_and_windows_lines(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes('\ufeffcase, image\r\n"a, b", x.nii\r\n\r\nc,n/a\r\n'.encode())
    assert read_table(path) == [{"case": "a, b", "image": "x.nii"}, {"case": "c", "image": None}]


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"", "expected a header"),
        (b"a\ta\n1\t2\n", r"columns \['a', 'a'\]"),
        (b"a\tb\n1\n", "row 2 has 1 cells; expected 2 [(]a, b[)].*tabs"),
        (b"a\xff", "not UTF-8"),
    ],
)
def test_bad_tables(content, part, tmp_path):
    path = tmp_path / "a.tsv"
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=part):
        read_table(path)


def test_missing_files_and_bad_json(tmp_path):
    for read in (read_table, read_json):
        with pytest.raises(DatasetError, match="could not be read: No such file"):
            read(tmp_path / "none")
    path = tmp_path / "a.json"
    path.write_text('{"a": 1,\n "b": }')
    with pytest.raises(DatasetError, match="line 2, column 7"):
        read_json(path)
    path.write_text("[" * 100_000)
    with pytest.raises(DatasetError, match=r"nested too deep|not JSON"):
        read_json(path)


def test_json_has_null_for_nan_and_plain_types(tmp_path):
    path = tmp_path / "a.json"
    write_json(
        path,
        {
            "nan": math.nan,
            "inf": [np.float32(np.inf), -math.inf],
            "array": np.array([[1.5, np.nan]]),
            "path": Path("x"),
            "bool": np.bool_(True),
            "set": {2, 1},
            3: (None, 4),
            "Zürich": "µm",
        },
    )
    assert read_json(path) == {
        "nan": None,
        "inf": [None, None],
        "array": [[1.5, None]],
        "path": "x",
        "bool": True,
        "set": [1, 2],
        "3": [None, 4],
        "Zürich": "µm",
    }
    assert "Zürich" in path.read_text(encoding="utf-8")


def test_a_csv_that_csv_cannot_read(tmp_path, monkeypatch):
    path = tmp_path / "a.csv"
    path.write_text("a,b\n" + "x" * 200_000 + ",1\n")
    with pytest.raises(DatasetError, match="is no table"):
        read_table(path)


def test_quotes_in_tsv_are_plain_characters(tmp_path):
    write_tsv(tmp_path / "a.tsv", [{"x": '"a  c', "y": 1}, {"x": 'b"', "y": 2}])
    assert [row["x"] for row in read_table(tmp_path / "a.tsv")] == ['"a  c', 'b"']


WORDS = st.text(st.characters(exclude_categories=["Cc", "Cs", "Z"]), min_size=1, max_size=6).filter(
    lambda text: text.lower() not in {"n/a", "na", "nan", "null", "none"} and text[0] != "\ufeff"
)


@settings(deadline=None, max_examples=60)
@given(rows=st.lists(st.tuples(WORDS, WORDS), max_size=4))
def test_any_text_comes_back(rows, tmp_path_factory):
    path = tmp_path_factory.mktemp("t") / "a.tsv"
    write_tsv(path, [{"a": a, "b": b} for a, b in rows], columns=["a", "b"])
    assert [(row["a"], row["b"]) for row in read_table(path)] == rows


CELLS = st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.integers(-(2**53), 2**53))


@settings(deadline=None, max_examples=40)
@given(values=st.lists(CELLS, min_size=1, max_size=5))
def test_numbers_come_back_exactly(values, tmp_path_factory):
    folder = tmp_path_factory.mktemp("n")
    write_tsv(folder / "a.tsv", [{"v": v} for v in values])
    np.testing.assert_array_equal(read_columns(folder / "a.tsv")["v"], np.array(values, float))
    write_json(folder / "a.json", values)
    assert json.loads((folder / "a.json").read_text()) == values
