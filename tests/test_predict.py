"""Many scans at once: the results of one by one, in order; a bad scan, a full disk, Ctrl-C."""

import threading
import time

import nibabel as nib
import numpy as np
import pytest

import score_jax as sj
from score_jax.api import prediction
from score_jax.arrays.regions import Region
from score_jax.config import ModelSpec, Preprocessing
from score_jax.errors import OutputError
from score_jax.inference import Predictor

REGIONS = (Region("cord", (1, 2), 1), Region("lesion", (2,), 2))


class Threshold:
    """A network of known answer, that counts who computes at the same time."""

    def __init__(self, wait=0.0):
        self.wait, self.inside, self.most, self.calls = wait, 0, 0, 0

    def __call__(self, tiles):
        self.inside += 1
        self.calls += 1
        self.most = max(self.most, self.inside)
        time.sleep(self.wait)
        self.inside -= 1
        return (tiles - np.array([1.0, 2.5])).astype(np.float32)


def model(network):
    spec = ModelSpec(
        kind="unet",
        options={},
        in_channels=1,
        channel_names=("T2w",),
        regions=REGIONS,
        preprocessing=Preprocessing(axcodes="RAS", spacing_mm=(1.2, 1.0, 1.1)),
        tile=(8, 8, 8),
    )
    return Predictor(spec, [{}], "threshold", runtime=network)


@pytest.fixture
def scans(tmp_path, rng):
    folder = tmp_path / "scans"
    folder.mkdir()
    for number in range(7):
        data = rng.normal(size=(9 + number, 10, 12)).astype(np.float32)
        nib.save(nib.Nifti1Image(data, np.eye(4)), folder / f"s{number}.nii.gz")
    return folder


def test_a_cohort_is_its_scans_one_by_one(scans, tmp_path):
    network, told = Threshold(wait=0.005), []
    together = sj.predict(
        scans, model(network), out=tmp_path / "a", soft=True,
        on_case=lambda number, total, path: told.append((number, total, path.name)),
    )  # fmt: skip
    assert [done.input.name for done in together] == [f"s{n}.nii.gz" for n in range(7)]
    assert network.most == 1  # the device serves one at a time
    assert sorted(told) == [(n, 7, f"s{n}.nii.gz") for n in range(7)]
    for done in together:
        (alone,) = sj.predict(done.input, model(Threshold()), out=tmp_path / "b", soft=True)
        assert set(done.outputs) == set(alone.outputs)
        for name, path in done.outputs.items():
            assert path.read_bytes() == alone.outputs[name].read_bytes()
        assert dict(done.volumes_mm3) == dict(alone.volumes_mm3)
        stages = {k: s for k, s in done.seconds.items() if k != "total"}
        np.testing.assert_allclose(done.seconds["total"], sum(stages.values()))
        assert {"load", "preprocess", "network", "postprocess", "save"} <= set(stages)


def test_loading_and_writing_happen_while_the_network_is_busy(scans, tmp_path, monkeypatch):
    busy, overlapped = threading.Event(), []
    load = prediction.data.load_image

    def watched(*arguments):
        overlapped.append(busy.is_set())
        return load(*arguments)

    class Marked(Threshold):
        def __call__(self, tiles):
            busy.set()
            answer = super().__call__(tiles)
            busy.clear()
            return answer

    monkeypatch.setattr(prediction.data, "load_image", watched)
    sj.predict(scans, model(Marked(wait=0.02)), out=tmp_path / "o")
    assert any(overlapped)


def test_a_bad_scan_does_not_stop_the_others(scans, tmp_path):
    (scans / "s3.nii.gz").write_bytes(b"nothing")
    results = sj.predict(scans, model(Threshold()), out=tmp_path / "o")
    kinds = [type(result).__name__ for result in results]
    assert kinds == ["Predicted"] * 3 + ["Failed"] + ["Predicted"] * 3
    assert "s3.nii.gz" in str(results[3].error)


@pytest.mark.parametrize("error", [OutputError("no space left"), RuntimeError("a fault of ours")])
def test_what_would_fail_for_all_ends_the_rest(scans, tmp_path, monkeypatch, error):
    network = Threshold(wait=0.002)
    everything = model(network)
    sj.predict(scans, everything, out=tmp_path / "a")
    whole, network.calls = network.calls, 0
    write = prediction.write_segmentation

    def full(found, folder, image, sidecar):
        if image.name == "s1.nii.gz":
            raise error
        return write(found, folder, image, sidecar)

    monkeypatch.setattr(prediction, "write_segmentation", full)
    with pytest.raises(type(error), match=str(error)):
        sj.predict(scans, everything, out=tmp_path / "b")
    assert (tmp_path / "b/s0_label-cord_mask.nii.gz").is_file()
    assert network.calls < whole


def test_an_interrupt_ends_cleanly(scans, tmp_path, monkeypatch):
    network, before = Threshold(wait=0.01), threading.active_count()
    result = prediction.Future.result

    def interrupted(self, timeout=None):
        time.sleep(0.1)
        raise KeyboardInterrupt

    monkeypatch.setattr(prediction.Future, "result", interrupted)
    with pytest.raises(KeyboardInterrupt):
        sj.predict(scans, model(network), out=tmp_path / "o")
    monkeypatch.setattr(prediction.Future, "result", result)
    assert threading.active_count() == before
    calls = network.calls
    time.sleep(0.05)
    assert network.calls == calls  # nothing goes on behind the user's back
    assert not list((tmp_path / "o").glob(".*")) if (tmp_path / "o").exists() else True


def test_the_rest_is_told_to_end():
    ended, begun = [], threading.Event()

    def work(number, going):
        if number == 0:
            assert begun.wait(5)
            raise OutputError("no space left")
        begun.set()
        deadline = time.monotonic() + 5
        while going.is_set() and time.monotonic() < deadline:
            time.sleep(0.001)
        if not going.is_set():
            ended.append(number)
        raise prediction._Stopped

    with pytest.raises(OutputError, match="no space left"):
        prediction._in_order(work, 2)
    assert ended == [1]


def test_a_volume_without_a_file_comes_back_as_it_was(rng):
    data = rng.normal(size=(9, 10, 12)).astype(np.float32)
    data[:3] += 4.0  # the left third, were it not for the affine
    flipped = np.diag([-1.0, 1.0, 1.0, 1.0])
    found = model(Threshold()).predict(sj.Volume(data, flipped))
    turned = model(Threshold()).predict(sj.Volume(data[::-1], np.eye(4)))
    assert found.masks["cord"][:3].mean() > 0.5
    assert found.masks["cord"][3:].mean() < 0.1
    np.testing.assert_array_equal(found.masks["cord"], turned.masks["cord"][::-1])
