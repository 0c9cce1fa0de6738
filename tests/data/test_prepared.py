"""Cases on disk: the same values as in memory, whole or not at all, made again when it matters."""

import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from score_jax import data
from score_jax.config import Preprocessing
from score_jax.data import prepared as prepared_module
from score_jax.data import stored
from score_jax.data.prepared import PreparedDataset
from score_jax.errors import DatasetError, ImageError, OutputError
from score_jax.planning.preprocess import prepare

from .conftest import RULES, ids, store_bytes

START = st.integers(-40, 40)
WIDTH = st.integers(1, 30)


def in_memory(dataset, case):
    loaded = data.load_case(dataset.case(case), dataset, axcodes=RULES.axcodes)
    return loaded, prepare(loaded.image, loaded.volume.spacing, RULES)


@pytest.fixture(scope="module")
def arrays(table):
    loaded, whole = in_memory(table, "c1")
    pad = [(70, 70)] * 3 + [(0, 0)]
    return np.pad(whole.image, pad), np.pad(whole.targets(loaded.targets), pad)


@settings(deadline=None, max_examples=150)
@given(starts=st.tuples(START, START, START), shape=st.tuples(WIDTH, WIDTH, WIDTH))
def test_windows_are_slices_of_the_padded_image(prepared, arrays, starts, shape):
    sample = prepared["c1"]
    for found, array in (
        (sample.image_window(starts, shape), arrays[0]),
        (sample.targets_window(starts, shape)[0], arrays[1]),
    ):
        wanted = array[tuple(slice(70 + s, 70 + s + n) for s, n in zip(starts, shape, strict=True))]
        np.testing.assert_array_equal(found, wanted)
        assert found.dtype == array.dtype


def test_the_whole_case_and_its_truth_are_those_in_memory(prepared, table):
    assert len(prepared) == 3
    for case in ids(table):
        loaded, whole = in_memory(table, case)
        again = prepared[case].load()
        assert prepared[case].shape == whole.image.shape[:3]
        np.testing.assert_array_equal(again.image, whole.image)
        for name in ("spacing", "full_shape", "box", "full_spacing", "transpose"):
            assert getattr(again, name) == getattr(whole, name)
        np.testing.assert_array_equal(prepared[case].truth()[0], loaded.targets)
        np.testing.assert_array_equal(
            again.restore(again.image[..., 0], outside=0),
            whole.restore(whole.image[..., 0], outside=0),
        )


def test_voxels_of_regions(prepared, rated):
    for sample in (prepared["c0"], rated["sub-1_T2w"]):
        masks = sample.targets_window((0, 0, 0), sample.shape)
        assert sample.raters == len(masks)
        np.testing.assert_array_equal(sample.voxels, masks.sum(axis=(1, 2, 3)))
        for rater, region in np.ndindex(*sample.voxels.shape):
            voxels = [sample.voxel(rater, region, n) for n in range(sample.voxels[rater, region])]
            np.testing.assert_array_equal(voxels, np.argwhere(masks[rater, ..., region]))


def test_many_voxels_are_thinned_evenly_and_always_alike():
    full = np.ones((30, 31, 32), bool)
    voxels = stored.some_voxels(full)
    assert len(np.unique(voxels, axis=0)) == stored.MOST_VOXELS
    np.testing.assert_allclose(voxels.mean(0), [14.5, 15, 15.5], atol=0.5)
    np.testing.assert_array_equal(voxels, stored.some_voxels(full))
    assert stored.some_voxels(~full).shape == (0, 3)


def test_a_second_call_keeps_what_has_not_changed(table, tmp_path):
    root = tmp_path / "data"
    shutil.copytree(table.root.parent, root)
    found = data.discover(root / table.root.name)
    calls = []

    def again(**changes):
        calls.clear()
        given = {"dataset": found, "cases": ids(found), "preprocessing": RULES, **changes}
        ready = data.prepare_dataset(
            **given, folder=tmp_path / "s", on_case=lambda *n: calls.append(n)
        )
        total = len(given["cases"])
        assert calls == [(n + 1, total) for n in range(total)]
        return ready

    assert again().count("made") == 3
    first = store_bytes(tmp_path / "s")
    assert again().count("kept") == 3
    assert store_bytes(tmp_path / "s") == first
    assert again(cases=("c2",)).outcomes == {"c2": "kept"}
    # a mask with one voxel more
    path = root / "c1_lesion.nii.gz"
    mask = nib.load(path)
    values = np.asarray(mask.dataobj).copy()
    values[0, 0, 0] = 1
    nib.save(nib.Nifti1Image(values, mask.affine), path)
    changed = again()
    assert changed.outcomes == {"c0": "kept", "c1": "redone", "c2": "kept"}
    assert changed["c1"].truth()[0, 19, 0, 0, 1]  # x is turned round: LAS
    assert changed.sha256["c0"] in first["c0/case.json"].decode()
    assert changed.sha256["c1"] not in first["c1/case.json"].decode()
    # a damaged description, other rules, other regions
    (tmp_path / "s" / "c0" / "case.json").write_text("{")
    assert again().outcomes == {"c0": "redone", "c1": "kept", "c2": "kept"}
    assert again(preprocessing=dataclasses.replace(RULES, order=1)).count("redone") == 3
    fewer = data.discover(root / table.root.name, regions=["cord"])
    assert again(dataset=fewer).count("redone") == 3
    assert again(dataset=fewer)["c0"].truth().shape[-1] == 1


@pytest.fixture
def again(table, tmp_path, monkeypatch):
    """Prepare an own copy of the table; gives what became of each case, and the files read."""
    shutil.copytree(table.root.parent, tmp_path / "data")
    found = data.discover(tmp_path / "data" / table.root.name)
    read, check = [], prepared_module._file_sum

    def counted(path):
        read.append(path.name)
        return check(path)

    monkeypatch.setattr(prepared_module, "_file_sum", counted)

    def prepare_again(**more):
        read.clear()
        ready = data.prepare_dataset(found, ids(found), RULES, tmp_path / "s", **more)
        return ready.outcomes, list(read)

    assert len(prepare_again()[1]) == 3 * 3
    return prepare_again


ALL_KEPT = {"c0": "kept", "c1": "kept", "c2": "kept"}
ONE_REDONE = {**ALL_KEPT, "c1": "redone"}


def test_files_are_read_again_only_if_their_stamps_differ(again, tmp_path):
    assert again() == (ALL_KEPT, [])
    path = tmp_path / "data" / "c1_image.nii.gz"
    path.touch()
    assert again() == (ALL_KEPT, [path.name])
    assert again() == (ALL_KEPT, [])  # the new stamp was kept
    outcomes, read = again(verify=True)
    assert outcomes == ALL_KEPT
    assert len(read) == 3 * 3
    image = nib.load(path)
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj)[::-1].copy(), image.affine), path)
    assert again() == (ONE_REDONE, [path.name])
    assert again() == (ALL_KEPT, [])


@pytest.mark.parametrize("put_back", [False, True], ids=["new time", "old time, as `cp -p`"])
def test_other_bytes_of_the_same_length_are_noticed(again, tmp_path, put_back):
    path = tmp_path / "data" / "c1_lesion.nii.gz"
    before = path.stat()
    content = bytearray(path.read_bytes())
    content[4] ^= 1  # a date in the header of gzip
    path.write_bytes(content)
    if put_back:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = path.stat()
    assert (after.st_size, after.st_ino) == (before.st_size, before.st_ino)
    assert again() == (ONE_REDONE, [path.name])


def test_a_store_of_an_older_version_is_read_once(again, tmp_path):
    for about in (tmp_path / "s").glob("*/case.json"):
        about.write_text(about.read_text().replace('"files_stamps"', '"other"'))
    outcomes, read = again()
    assert outcomes == ALL_KEPT
    assert len(read) == 3 * 3
    assert again() == (ALL_KEPT, [])


def test_verified_bytes_count_whatever_the_stamp_says(again, tmp_path, monkeypatch):
    """A file system whose times do not move: only `verify` finds out."""
    path = tmp_path / "data" / "c1_image.nii.gz"
    stamp = prepared_module._stamp(path)
    path.write_bytes(path.read_bytes()[:-8] + bytes(8))
    own = prepared_module._stamp
    monkeypatch.setattr(prepared_module, "_stamp", lambda p: stamp if p == path else own(p))
    assert again() == (ALL_KEPT, [])
    with pytest.raises(ImageError, match="c1_image"):
        again(verify=True)


def test_workers_and_thin_chunks_store_the_same_values(table, prepared, tmp_path):
    two = data.prepare_dataset(table, ids(table), RULES, tmp_path / "two", workers=2)
    assert two.count("made") == 3
    assert store_bytes(tmp_path / "two") == store_bytes(prepared.folder)
    thin = data.prepare_dataset(table, ids(table), RULES, tmp_path / "thin", thin_axis=1)
    window = ((-2, 5, 3), (9, 1, 8))
    np.testing.assert_array_equal(
        thin["c0"].image_window(*window), prepared["c0"].image_window(*window)
    )
    assert thin["c0"]._image.chunk_layout.read_chunk.shape[1] == 1


@pytest.mark.parametrize(
    ("shape", "thin", "chunk"),
    [
        ((5, 6, 7), None, (5, 6, 7)),
        ((15, 400, 600), None, (15, 47, 46)),
        ((300, 200, 250), None, (32, 32, 32)),
        ((15, 400, 600), 0, (1, 181, 181)),
        ((200, 210, 10), 2, (181, 181, 1)),
    ],
)
def test_chunks_hold_about_as_many_voxels_whatever_the_shape(shape, thin, chunk):
    assert stored._chunk(shape, thin) == chunk


def test_any_id_has_its_own_folder_inside_the_store(table, tmp_path):
    names = ["../up", ".hidden", "a/b", "a b", "%2Fx"]
    case = table.case("c0")
    odd = dataclasses.replace(table, cases=tuple(dataclasses.replace(case, id=n) for n in names))
    ready = data.prepare_dataset(odd, names, RULES, tmp_path / "deep" / "store")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["deep"]
    folders = {p.name for p in ready.folder.iterdir()} - {".lock"}
    assert folders == {"..%2Fup".replace(".", "%2E", 1), "%2Ehidden", "a%2Fb", "a b", "%252Fx"}
    assert ready["../up"].id == "../up"
    with pytest.raises(DatasetError, match=r"got the case 'c9'; expected a prepared one"):
        ready["c9"]


def broken(table, tmp_path):
    """The dataset with NaN in the image of its second case."""
    root = tmp_path / "data"
    shutil.copytree(table.root.parent, root)
    path = root / "c1_image.nii.gz"
    image = nib.load(path)
    values = np.asarray(image.dataobj).copy()
    values[3] = np.nan
    nib.save(nib.Nifti1Image(values, image.affine), path)
    return data.discover(root / table.root.name)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_bad_case_stops_it_by_its_files_name(table, tmp_path, workers):
    found = broken(table, tmp_path)
    with pytest.raises(ImageError, match=r"c1_image\.nii\.gz: .* not finite") as caught:
        data.prepare_dataset(found, ids(found), RULES, tmp_path / "s", workers=workers)
    assert caught.value.__notes__ == ["while preparing the case c1"]
    left = {p.name for p in (tmp_path / "s").iterdir()} - {".lock"}
    assert left <= {"c0", "c2"}
    assert "c0" in left or workers
    (tmp_path / "data" / "c1_image.nii.gz").unlink()
    with pytest.raises(ImageError, match=r"c1_image\.nii\.gz: cannot be read \(No such file"):
        data.prepare_dataset(found, ids(found), RULES, tmp_path / "s")


def test_a_case_without_masks_is_refused(table, tmp_path):
    bare = dataclasses.replace(table.case("c0"), region_masks={})
    found = dataclasses.replace(table, cases=(bare,))
    with pytest.raises(DatasetError, match="c0: got no mask; expected one of each region"):
        data.prepare_dataset(found, ["c0"], RULES, tmp_path)


# a test run in the background ignores SIGINT, and its children inherit that
_INTERRUPTIBLE = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"


def child(code: str, *arguments: object) -> subprocess.Popen:
    """Another Python, in its own process group, that has the tests' folder to import from."""
    root = Path(__file__).parent.parent.parent
    return subprocess.Popen(
        [sys.executable, "-c", _INTERRUPTIBLE + code, *map(str, arguments)],
        cwd=root,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


PREPARE = """
import sys
from score_jax import data
from tests.data.conftest import RULES, ids
if __name__ == "__main__":
    found = data.discover(sys.argv[1])
    data.prepare_dataset(
        found, ids(found), RULES, sys.argv[2], workers=int(sys.argv[3]),
        on_case=lambda done, total: print(done, flush=True),
    )
"""


def processes_of(session: int) -> set[int]:
    """Living processes of a session."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            found.add(int(stat.parent.name))
    return found


def assert_nothing_left_of(session: int, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while processes_of(session) and time.monotonic() < end:
        time.sleep(0.05)
    assert not processes_of(session)


def test_killed_at_any_moment_it_leaves_whole_cases_only(table, prepared, tmp_path):
    store = tmp_path / "s"
    rng = np.random.default_rng(7)
    wanted = store_bytes(prepared.folder)
    for attempt in range(3):
        process = child(PREPARE, table.root, store, attempt % 2)
        process.stdout.readline() if attempt else time.sleep(0.5)
        time.sleep(rng.uniform(0, 0.05))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert_nothing_left_of(process.pid)
        there = [] if not store.exists() else [p for p in store.iterdir() if p.is_dir()]
        for folder in there:
            if not folder.name.startswith(".partial-"):
                assert store_bytes(folder) == store_bytes(prepared.folder / folder.name)
        shutil.rmtree(store / "c2", ignore_errors=True)  # there is always something left to do
    (store / ".partial-0123").mkdir(parents=True)
    data.prepare_dataset(table, ids(table), RULES, store)
    assert store_bytes(store) == wanted
    assert not list(store.glob(".partial-*"))


@pytest.mark.parametrize("workers", [0, 2])
def test_ctrl_c_removes_the_case_at_hand_and_ends_the_workers(table, tmp_path, workers):
    slow = PREPARE.replace(
        "found = data", "from score_jax.data import prepared as p; import time; found = data"
    ).replace("lambda done, total: print(done, flush=True)", "wait")
    slow = slow.replace(
        'if __name__ == "__main__":',
        "def wait(done, total):\n    print(done, flush=True)\n    import time; time.sleep(600)\n"
        'if __name__ == "__main__":',
    )
    process = child(slow, table.root, tmp_path / "s", workers)
    assert process.stdout.readline() == "1\n", process.stderr.read()
    start = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    assert time.monotonic() - start < 120
    assert process.returncode != 0
    assert errors.rstrip().endswith("KeyboardInterrupt")
    assert_nothing_left_of(process.pid)
    assert not list((tmp_path / "s").glob(".partial-*"))


SLOW = """
import time
from types import SimpleNamespace
from score_jax.data import prepared

class Slow:
    def __init__(self, name):
        self.case = SimpleNamespace(id=name)

    @property
    def folder(self):
        print("begun", flush=True)
        time.sleep(600)

if __name__ == "__main__":
    list(prepared._run([Slow("a"), Slow("b")], 2))
"""


def test_ctrl_c_does_not_wait_for_the_workers_cases(tmp_path):
    script = tmp_path / "slow.py"
    script.write_text(_INTERRUPTIBLE + SLOW)
    process = subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, start_new_session=True,
    )  # fmt: skip
    assert process.stdout.readline() == "begun\n", process.stderr.read()
    assert process.stdout.readline() == "begun\n"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert errors.rstrip().endswith("KeyboardInterrupt")
    assert_nothing_left_of(process.pid)


FULL = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
from score_jax import data
from score_jax.errors import OutputError
from tests.data.conftest import RULES, ids
found = data.discover(sys.argv[1])
try:
    data.prepare_dataset(found, ids(found), RULES, sys.argv[2])
except OutputError as error:
    print(error.message, "|", error.hint)
"""


def test_no_room_on_the_disk(table, tmp_path):
    process = child(FULL, table.root, tmp_path / "s")
    said, errors = process.communicate()
    assert said.startswith(f"{tmp_path / 's'}: cannot be written ("), errors
    assert "free space or choose another folder" in said
    assert {p.name for p in (tmp_path / "s").iterdir()} == {".lock"}


def test_a_folder_that_cannot_be_made(table, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"file.*: cannot be written"):
        data.prepare_dataset(table, ids(table), RULES, tmp_path / "file" / "s")


def damage(store: Path, case: str, array: str) -> None:
    """Flip one byte in the midst of the file that holds an array's chunks."""
    (file,) = (p for p in (store / case / array / "c").rglob("*") if p.is_file())
    content = bytearray(file.read_bytes())
    content[len(content) // 3] ^= 0xFF
    file.write_bytes(content)


@pytest.mark.parametrize("array", ["image", "masks", "truth"])
def test_a_damaged_chunk_names_the_case_and_the_remedy(prepared, tmp_path, array):
    store = tmp_path / "s"
    shutil.copytree(prepared.folder, store)
    damage(store, "c1", array)
    ready = PreparedDataset(store, prepared.cases, prepared.regions)
    sample = ready["c1"]
    read = {"image": sample.load, "truth": sample.truth}.get(
        array, lambda: sample.targets_window((0, 0, 0), sample.shape)
    )
    with pytest.raises(DatasetError, match=r"c1: the prepared case 'c1' cannot be read") as caught:
        read()
    assert caught.value.hint == (
        f"remove {store / 'c1'} and start again: it is prepared anew from its files"
    )
    ready["c0"].load()


@pytest.mark.parametrize("gone", ["image", "masks", "case.json", "voxels.npy"])
def test_a_missing_file_says_the_same(prepared, tmp_path, gone):
    store = tmp_path / "s"
    shutil.copytree(prepared.folder, store)
    path = store / "c1" / gone
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    ready = PreparedDataset(store, prepared.cases, prepared.regions)
    with pytest.raises(DatasetError, match="the prepared case 'c1' cannot be read"):
        ready["c1"].voxel(0, 0, 0)


def test_a_second_call_for_the_same_folder_waits(table, tmp_path):
    done = threading.Event()

    def second():
        data.prepare_dataset(table, ids(table), RULES, tmp_path)
        done.set()

    with prepared_module._alone(tmp_path):
        thread = threading.Thread(target=second)
        thread.start()
        assert not done.wait(0.5)
        assert not (tmp_path / "c0").exists()
    assert done.wait(20)
    thread.join()


def test_raters_first_and_the_voxels_to_ignore_last(rated, ignoring):
    sample = rated["sub-0_T2w"]
    masks = sample.targets_window((0, 0, 0), sample.shape)
    assert masks.shape == (3, *sample.shape, 2)
    lengths = masks[..., 0].any(axis=(1, 2)).sum(axis=-1)  # 1, 2, 3 slices of 2 mm more
    assert lengths[0] < lengths[1] < lengths[2]
    np.testing.assert_array_equal(sample.targets_window((0, 0, 0), sample.shape, 1)[0], masks[1])
    found, ready = ignoring
    assert ready.has_ignore
    assert not rated.has_ignore
    loaded, whole = in_memory(found, "sub-1")
    sample = ready["sub-1"]
    joined = np.concatenate([loaded.targets, loaded.ignore[..., None]], axis=-1)
    np.testing.assert_array_equal(sample.truth()[0], joined)
    masks = sample.targets_window((0, 0, 0), sample.shape)[0]
    np.testing.assert_array_equal(masks, whole.targets(joined))
    assert masks[..., :2, 2].all()  # the lowest two slices of 2 mm are three of 1.5 mm
    assert not masks[..., 4:, 2].any()
    assert sample.voxels.shape == (1, 2)


def test_more_regions_than_a_byte_holds():
    masks = np.random.default_rng(0).random((2, 3, 4, 5, 19)) < 0.4
    packed = stored.pack(masks)
    assert packed.dtype == np.uint32
    np.testing.assert_array_equal(stored.unpack(packed, 19), masks)
    assert stored.pack(masks[..., :8]).dtype == np.uint8
    np.testing.assert_array_equal(stored.unpack(stored.pack(masks[..., :9]), 9), masks[..., :9])


def test_rules_that_do_not_fit_are_refused_before_anything_is_written(table, tmp_path):
    rules = Preprocessing(normalization=("zscore", "zscore", "none"))
    with pytest.raises(ValueError, match="got 3 entries for 2 channels"):
        data.prepare_dataset(table, ids(table), rules, tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {".lock"}
