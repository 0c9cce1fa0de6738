"""Atomic writing: old, new or nothing."""

import os

import pytest

from score_jax.errors import ImageError, OutputError
from score_jax.imaging import atomic


def names(folder):
    return sorted(p.name for p in folder.rglob("*") if p.is_file())


def test_content_appears_at_the_end_under_the_right_suffix(tmp_path):
    target = tmp_path / "ä" / "b c" / "scan.nii.gz"
    with atomic(target) as temporary:
        assert temporary.parent == target.parent
        assert temporary.name.endswith(".nii.gz")
        temporary.write_text("new")
        assert not target.exists()
    assert target.read_text() == "new"
    assert names(tmp_path) == ["scan.nii.gz"]


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt(), ImageError("x")])
def test_a_failure_keeps_the_old_file(error, tmp_path):
    target = tmp_path / "a.json"
    target.write_text("old")
    with pytest.raises(type(error)), atomic(target) as temporary:  # noqa: PT012
        temporary.write_text("half")
        raise error
    assert target.read_text() == "old"
    assert names(tmp_path) == ["a.json"]


@pytest.mark.parametrize("number", [28, 122])
def test_a_full_disk_is_said_in_one_line(number, tmp_path, monkeypatch):
    def full(_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match=r"a\.json: could not be written.*free space"):  # noqa: SIM117
        with atomic(tmp_path / "a.json") as temporary:
            temporary.write_text("x")
    assert names(tmp_path) == []


def test_a_folder_in_the_way_and_a_file_for_a_folder(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError, match="could not be written"), atomic(tmp_path / "folder") as t:
        t.write_text("x")
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="another output path"), atomic(tmp_path / "file" / "a"):
        pass
    assert names(tmp_path) == ["file"]


def test_a_block_that_writes_nothing_is_an_error(tmp_path):
    with pytest.raises(OutputError), atomic(tmp_path / "a.txt"):
        pass


def test_somebody_elses_error_keeps_its_face(tmp_path):
    with pytest.raises(FileNotFoundError), atomic(tmp_path / "a.txt"):
        (tmp_path / "other" / "input.txt").read_text()


def test_permissions_are_those_of_the_user(tmp_path):
    before = os.umask(0o027)
    try:
        with atomic(tmp_path / "a.txt") as temporary:
            temporary.write_text("x")
    finally:
        os.umask(before)
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o640
