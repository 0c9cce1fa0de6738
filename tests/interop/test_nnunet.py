"""Published nnU-Net folders give nnU-Net's numbers; hostile or odd ones are refused by name."""

import json
import shutil
import stat
import zipfile

import numpy as np
import pytest
from typer.testing import CliRunner

import score_jax as sj
from score_jax.cli import app
from score_jax.errors import CheckpointError, OutputError
from score_jax.inference import Predictor
from score_jax.interop import archive, nnunet
from score_jax.planning.planner import plan

from .torch_writer import write

QUICK = ["plainconv_3d/real_folds0_notta", "resenc_3d/real_folds0_notta",
         "plainconv_2d/real_folds0_notta"]  # fmt: skip
SLOW = ["plainconv_3d/real_folds01_notta", "plainconv_3d/real_folds0_tta",
        "plainconv_3d/real_folds01_tta",
        "plainconv_3d/synth_folds0_notta", "resenc_3d/real_folds0_tta",
        "plainconv_2d/real_folds0_tta"]  # fmt: skip


@pytest.mark.parametrize("name", [*QUICK, *(pytest.param(n, marks=pytest.mark.slow) for n in SLOW)])
def test_from_nifti_and_checkpoint_to_mask(fixtures, name):
    """Logits, labels and probabilities of whole images, at the tolerances of the README."""
    folder = fixtures / "nnunet/model"
    model, case = name.split("/")
    image, folds, mirrored = case.split("_")
    predictor = sj.interop.nnunet.load(folder / model, [int(c) for c in folds[5:]])
    assert isinstance(predictor, sj.Predictor)
    assert len(predictor.members) == len(folds[5:])
    path = folder / f"input/{image}_0000.nii.gz"
    volume, tta = sj.load(path), mirrored == "tta"
    with np.load(folder / model / "predictions" / f"{case}.npz") as data:
        want = dict(data)
    logits = predictor.logits(volume.data, volume.spacing, tta=tta)
    inner = logits.transpose(*predictor.spec.preprocessing.transpose, 3)
    got = np.moveaxis(inner, -1, 0)
    np.testing.assert_allclose(got, want["logits_fp32"], atol=2e-3)
    if "logits_fp16" in want:
        apart = np.abs(got - want["logits_fp16"].astype(np.float32))
        assert np.median(apart) < 0.01
        assert apart.max() < 0.75
    found = predictor.predict(path, tta=tta, soft=True)
    labels = found.labels.transpose(2, 1, 0)
    assert (labels != want["segmentation_fp32_zyx"]).mean() < 0.0005
    assert (labels != want["segmentation_zyx"]).mean() < 0.001
    if "probabilities" in want:
        shares = [found.probabilities[n].transpose(2, 1, 0) for n in ("sc", "lesion")]
        apart = np.abs(np.stack(shares) - want["probabilities"])
        assert apart.max() < 0.12
        assert np.median(apart) < 2e-3


# A small model folder of our own making, so that every corner can be reached.

FINGERPRINT = {
    "spacings": [[1.0, 1.0, 1.0]] * 4,
    "shapes_after_crop": [[16, 16, 16]] * 4,
    "foreground_intensity_properties_per_channel": {"0": {}},
    "median_relative_size_after_cropping": 1.0,
}
DATASET = {
    "channel_names": {"0": "T2w"},
    "labels": {"background": 0, "sc": [1, 2], "lesion": 2},
    "regions_class_order": [1, 2],
    "numTraining": 4,
    "file_ending": ".nii.gz",
}


def small_plans(dataset=DATASET):
    made = plan(FINGERPRINT, dataset, dataset_name="Dataset001_x")
    full = made["configurations"]["3d_fullres"]
    full["patch_size"] = [8, 8, 8]
    full["architecture"]["arch_kwargs"].update(
        n_stages=2, features_per_stage=[2, 3], strides=[[1, 1, 1], [2, 2, 2]],
        kernel_sizes=[[3, 3, 3]] * 2, n_conv_per_stage=[1, 1], n_conv_per_stage_decoder=[1],
    )  # fmt: skip
    return made


def weights(rng, outputs=2):
    """By nnU-Net's names, aliases and all."""

    def block(name, c_in, c_out):
        state = {f"{name}.conv.weight": rng.normal(size=(c_out, c_in, 3, 3, 3)) / 5,
                 f"{name}.conv.bias": rng.normal(size=c_out),
                 f"{name}.norm.weight": rng.normal(size=c_out),
                 f"{name}.norm.bias": rng.normal(size=c_out)}  # fmt: skip
        again = {k.replace(".conv.", ".all_modules.0.").replace(".norm.", ".all_modules.1."): v
                 for k, v in state.items()}  # fmt: skip
        return state | again

    encoder = block("encoder.stages.0.0.convs.0", 1, 2) | block("encoder.stages.1.0.convs.0", 2, 3)
    return {
        **encoder,
        **{f"decoder.{name}": value for name, value in encoder.items()},
        **block("decoder.stages.0.convs.0", 4, 2),
        "decoder.transpconvs.0.weight": rng.normal(size=(3, 2, 2, 2, 2)),
        "decoder.transpconvs.0.bias": rng.normal(size=2),
        "decoder.seg_layers.0.weight": rng.normal(size=(outputs, 2, 1, 1, 1)),
        "decoder.seg_layers.0.bias": rng.normal(size=outputs),
    }


def floats(state):
    return {name: np.asarray(value, np.float32) for name, value in state.items()}


def checkpoint(path, state, **more):
    path.parent.mkdir(parents=True, exist_ok=True)
    found = {
        "network_weights": floats(state),
        "optimizer_state": None,
        "init_args": {"configuration": "3d_fullres", "fold": 0},
        "trainer_name": "nnUNetTrainer",
        "inference_allowed_mirroring_axes": (0, 2),
    }
    return write(path, found | more)


@pytest.fixture
def model(tmp_path, rng):
    """nnUNetTrainer__nnUNetPlans__3d_fullres with two folds, in a dataset's folder."""
    folder = tmp_path / "Dataset001_x" / "nnUNetTrainer__nnUNetPlans__3d_fullres"
    for fold in (0, 1):
        checkpoint(folder / f"fold_{fold}/checkpoint_final.pth", weights(rng))
    checkpoint(folder / "fold_0/checkpoint_best.pth", weights(rng))
    (folder / "plans.json").write_text(json.dumps(small_plans()))
    (folder / "dataset.json").write_text(json.dumps(DATASET))
    return folder


def refuse(path, match, *arguments, **options):
    with pytest.raises(CheckpointError, match=match) as caught:
        nnunet.load(path, *arguments, **options)
    assert "\n" not in str(caught.value)


def run_logits(predictor):
    image = np.linspace(0, 1, 9 * 10 * 11, dtype=np.float32).reshape(9, 10, 11)
    return predictor.logits(image, (1.0, 1.0, 1.0))


def test_folds_are_averaged(model):
    both, first, second = (run_logits(nnunet.load(model, f)) for f in (None, 0, "1"))
    np.testing.assert_allclose(both, (first + second) / 2, atol=1e-5)
    assert np.abs(first - second).max() > 0.1
    assert nnunet.load(model).spec.mirror_axes == (0, 2)
    assert nnunet.load(model).name == model.name


def test_final_and_best_checkpoints(model):
    best = nnunet.load(model, 0, "best")
    assert np.abs(run_logits(best) - run_logits(nnunet.load(model, 0))).max() > 0.1
    assert len(nnunet.load(model, None, "best").members) == 1
    refuse(model, "no checkpoint_best.pth of fold 1; there is 0", (0, 1), "best")
    refuse(model, "no checkpoint_final.pth of fold 7", 7)
    refuse(model, "got 'last'; expected 'final' or 'best'", checkpoint="last")
    for path in model.glob("fold_*/checkpoint_final.pth"):
        path.unlink()
    refuse(model, r"there is none.*checkpoint='best' is there for fold 0")


def test_the_fold_trained_on_everything_serves_where_there_is_no_other(model, rng):
    checkpoint(model / "fold_all/checkpoint_final.pth", weights(rng))
    assert len(nnunet.load(model).members) == 2  # numbered folds first
    assert len(nnunet.load(model, "all").members) == 1
    for fold in (0, 1):
        shutil.rmtree(model / f"fold_{fold}")
    assert len(nnunet.load(model).members) == 1


def test_a_folder_above_the_model_is_enough_but_not_one_above_two(model, tmp_path):
    assert nnunet.load(tmp_path).name == model.name
    shutil.copytree(model, tmp_path / "Dataset001_x" / "nnUNetTrainer__other__3d_fullres")
    refuse(tmp_path, r"holds 2 nnU-Net models.*name one of them")
    refuse(tmp_path / "absent", "no such file or folder")
    (tmp_path / "empty").mkdir()
    refuse(tmp_path / "empty", "holds 0 nnU-Net models")


def zipped(model, path, **options):
    """As nnU-Net exports a model: deflated, from the dataset's folder down."""
    options = {"compression": zipfile.ZIP_DEFLATED} | options
    with zipfile.ZipFile(path, "w", **options) as made:
        for file in sorted(model.rglob("*")):
            if file.is_file():
                made.write(file, file.relative_to(model.parent.parent))
    return path


def test_zips_as_they_are_shared(model, tmp_path):
    path = zipped(model, tmp_path / "model.zip")
    np.testing.assert_array_equal(run_logits(nnunet.load(path)), run_logits(nnunet.load(model)))
    assert nnunet.load(path).name == model.name
    assert nnunet.inspect(path).folds == {"0": ("best", "final"), "1": ("final",)}


def add(path, name, data=b"x", **fields):
    entry = zipfile.ZipInfo(name)
    for key, value in fields.items():
        setattr(entry, key, value)
    with zipfile.ZipFile(path, "a") as made:
        made.writestr(entry, data)


@pytest.mark.parametrize(
    ("name", "fields", "match"),
    [
        ("../evil.txt", {}, "points outside the archive"),
        ("/etc/evil", {}, "points outside"),
        ("a/../../evil", {}, "points outside"),
        ("C:/evil", {}, "points outside"),
        ("..\\evil", {}, "points outside"),
        ("link", {"external_attr": (stat.S_IFLNK | 0o777) << 16}, "is a link"),
        ("packed", {"compress_type": zipfile.ZIP_LZMA}, "compressed by method 14"),
    ],
)
def test_hostile_zips_are_refused_and_nothing_is_written(model, tmp_path, name, fields, match):
    (tmp_path / "in").mkdir()
    path = zipped(model, tmp_path / "in" / "model.zip")
    add(path, name, **fields)
    before = sorted(p for p in tmp_path.rglob("*"))
    refuse(path, match)
    assert sorted(p for p in tmp_path.rglob("*")) == before


def test_zips_that_grow_are_refused(model, tmp_path, monkeypatch):
    path = zipped(model, tmp_path / "model.zip")
    add(path, "zeros", bytes(20_000_000), compress_type=zipfile.ZIP_DEFLATED)
    refuse(path, r"zeros' unpacks to 20000000 bytes from \d+")
    monkeypatch.setattr(archive, "MAX_FILE_BYTES", 1000)
    refuse(zipped(model, tmp_path / "b.zip"), r"at most 1000 are read")
    monkeypatch.setattr(archive, "MAX_ENTRIES", 2)
    refuse(zipped(model, tmp_path / "c.zip"), "5 entries; at most 2")


def test_zips_that_are_damaged_are_refused(model, tmp_path):
    path = zipped(model, tmp_path / "model.zip", compression=zipfile.ZIP_STORED)
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as found:
        last = [i for i in found.infolist() if i.filename.endswith("fold_1/checkpoint_final.pth")]
    data[last[0].header_offset + last[0].file_size // 2] ^= 255
    (tmp_path / "flipped.zip").write_bytes(data)
    refuse(tmp_path / "flipped.zip", "damaged|CRC")
    (tmp_path / "cut.zip").write_bytes(data[:-100])
    refuse(tmp_path / "cut.zip", "not a zip archive|holds 0")  # a checkpoint in it is a zip too
    (tmp_path / "text.zip").write_text("hello")
    refuse(tmp_path / "text.zip", "not a zip archive")
    with pytest.warns(UserWarning, match="Duplicate name"):
        add(path, "Dataset001_x/nnUNetTrainer__nnUNetPlans__3d_fullres/plans.json")
    refuse(path, "is there twice")


def change(model, name, **entries):
    path = model / name
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))


def test_json_files_that_are_broken(model):
    (model / "plans.json").write_text("{")
    refuse(model, r"plans.json: cannot be read as JSON")
    (model / "plans.json").write_text("[]")
    refuse(model, "got a list; expected a table")
    (model / "plans.json").write_text("[" * 100_000)
    refuse(model, "cannot be read as JSON")
    (model / "plans.json").write_bytes(b"\xff\xfe\x00")
    refuse(model, "cannot be read as JSON")


def test_what_the_dataset_says_is_checked(model):
    change(model, "dataset.json", regions_class_order=[2, 2])
    refuse(model, "value 2 is used twice")
    change(model, "dataset.json", regions_class_order=None)
    refuse(model, "regions_class_order: got None")
    change(model, "dataset.json", labels={"background": 0, "lesion": 2, "sc": [1, 2]},
           regions_class_order=[2, 1])  # fmt: skip
    refuse(model, "is written after lesion .* and hides it")


def test_plain_classes_become_exclusive_regions(model, rng):
    dataset = DATASET | {"labels": {"background": 0, "sc": 1, "lesion": 2, "ignore": 3}}
    (model / "dataset.json").write_text(json.dumps(dataset))
    for fold in (0, 1):
        checkpoint(model / f"fold_{fold}/checkpoint_final.pth", weights(rng, 3))
    predictor = nnunet.load(model)
    assert predictor.spec.exclusive
    assert run_logits(predictor).shape == (9, 10, 11, 3)


@pytest.mark.parametrize(
    ("edit", "match"),
    [
        (lambda s: s.pop("decoder.seg_layers.0.bias"), "no tensor decoder.seg_layers.0.bias"),
        (lambda s: s.update(extra=np.zeros(2)), "unknown tensor extra"),
        (
            lambda s: s.update({"encoder.stages.0.0.convs.0.norm.running_mean": np.zeros(2)}),
            "unknown tensor encoder.stages.0.0.convs.0.norm.running_mean",
        ),
        (
            lambda s: s.update({"decoder.seg_layers.0.bias": np.zeros(5)}),
            r"decoder.seg_layers.0.bias: got shape \(5,\); expected \(2,\)",
        ),
        (
            lambda s: s.update({"decoder.seg_layers.0.weight": np.zeros(5)}),
            r"decoder.seg_layers.0.weight: got shape \(5,\)",
        ),
        (
            lambda s: s.update({"encoder.stages.1.0.convs.0.conv.weight": np.zeros((3, 2, 3, 3))}),
            r"convs.0.conv.weight: got shape",
        ),
    ],
)
def test_weights_that_do_not_fit_the_plans(model, rng, edit, match):
    state = weights(rng)
    edit(state)
    checkpoint(model / "fold_0/checkpoint_final.pth", state)
    refuse(model, match, 0)


def test_checkpoints_that_are_something_else(model, rng):
    path = model / "fold_0/checkpoint_final.pth"
    write(path, {"state_dict": {}})
    refuse(model, "no network_weights", 0)
    write(path, [1, 2])
    refuse(model, "no network_weights", 0)
    checkpoint(path, {}, network_weights={"a": "text"})
    refuse(model, "a: expected a tensor", 0)
    state = {k: v.astype(np.int64) for k, v in weights(rng).items()}
    checkpoint(path, {}, network_weights=state)
    refuse(model, "got int64; expected floats", 0)
    path.write_bytes(b"cposix\nsystem\n(S'true'\ntR.")
    refuse(model, r"fold_0/checkpoint_final.pth: starts with b'cposix", 0)
    path.write_bytes(b"\x80\x02cposix\nsystem\n(X\x04\x00\x00\x00truetR.")
    refuse(model, r"names posix.system, which is not allowed", 0)


def test_weights_that_are_not_numbers_and_axes_that_are_no_axes(model, rng):
    path, state = model / "fold_0/checkpoint_final.pth", weights(rng)
    checkpoint(path, state, inference_allowed_mirroring_axes=(0, 5))
    refuse(model, "mirroring axes: got", 0)
    checkpoint(path, state, inference_allowed_mirroring_axes="all")
    refuse(model, "inference_allowed_mirroring_axes: expected a tuple", 0)
    state["decoder.seg_layers.0.bias"][1] = np.nan
    checkpoint(path, state)
    refuse(model, "decoder.seg_layers.0.bias: holds values that are not finite", 0)


def test_wrapped_names_and_old_checkpoints(model, rng):
    """DistributedDataParallel and torch.compile prefixes; no mirroring axes, no configuration."""
    state = weights(rng)
    path = model / "fold_0/checkpoint_final.pth"
    checkpoint(path, state)
    want = run_logits(nnunet.load(model, 0))
    wrapped = {f"module._orig_mod.{name}": value for name, value in state.items()}
    checkpoint(path, wrapped, inference_allowed_mirroring_axes=None, init_args=None)
    predictor = nnunet.load(model, 0)
    np.testing.assert_array_equal(run_logits(predictor), want)
    assert predictor.spec.mirror_axes == ()


def test_folds_of_different_configurations_are_refused(model, rng):
    path = model / "fold_1/checkpoint_final.pth"
    checkpoint(path, weights(rng), inference_allowed_mirroring_axes=(0, 1, 2))
    refuse(model, "fold_1/checkpoint_final.pth: trained differently from fold 0")


# The command.


def run(*arguments):
    return CliRunner().invoke(app, ["import", *map(str, arguments)])


def test_the_command_writes_a_model_of_ours(model, tmp_path):
    out = tmp_path / "ours"
    done = run("nnunet", model, "--out", out)
    assert done.exit_code == 0, done.output
    assert "lesion" in done.stdout
    loaded, direct = Predictor.from_folder(out), nnunet.load(model)
    assert len(loaded.members) == 2
    assert loaded.sha256 == direct.sha256
    np.testing.assert_array_equal(run_logits(loaded), run_logits(direct))
    again = run("nnunet", model, "--out", out)
    assert isinstance(again.exception, OutputError)
    assert run("nnunet", model, "--out", out, "--replace", "--fold", 1).exit_code == 0
    assert len(Predictor.from_folder(out).members) == 1


def test_the_command_prints_one_object(model, tmp_path):
    done = run("nnunet", model, "--out", tmp_path / "ours", "--json", "--checkpoint", "best")
    printed = json.loads(done.stdout)
    assert printed["checkpoint"] == "best"
    assert printed["members"] == 1
    assert [region["name"] for region in printed["regions"]] == ["sc", "lesion"]


def test_the_command_takes_the_best_where_there_is_no_final(model, tmp_path):
    for path in model.glob("fold_*/checkpoint_final.pth"):
        path.unlink()
    done = run("nnunet", model, "--out", tmp_path / "ours", "--json")
    assert json.loads(done.stdout)["checkpoint"] == "best"


def test_the_command_writes_nothing_after_a_mistake(model, tmp_path):
    out = tmp_path / "ours"
    (model / "fold_1/checkpoint_final.pth").write_bytes(b"junk")
    assert isinstance(run("nnunet", model, "--out", out).exception, CheckpointError)
    assert not out.exists()
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_text("x")
    failed = run("nnunet", model, "--out", tmp_path / "photos", "--replace")
    assert isinstance(failed.exception, OutputError)
    assert (tmp_path / "photos" / "a.jpg").exists()
    wrong = run("nnunet", model, "--out", out, "--checkpoint", "latest")
    assert "expected auto, final or best" in wrong.exception.message


def test_mdgru_from_the_command_line(fixtures, tmp_path):
    folder, out = fixtures / "mdgru", tmp_path / "gru"
    done = run("mdgru", folder / "ckpt_2d/temp-4.0", "--out", out, "--class", "GM", "--class", "WM")
    assert done.exit_code == 0, done.output
    spec = Predictor.from_folder(out).spec
    assert [region.name for region in spec.regions] == ["GM", "WM"]
    assert spec.exclusive
    assert spec.preprocessing.highpass_sigma_mm == 5.0
    tensorflow = folder / "tfckpt_3d" / "temp-2"
    failed = run("mdgru", tensorflow, "--out", tmp_path / "t")
    assert "highpass 0" in failed.exception.hint
    done = run("mdgru", tensorflow, "--out", tmp_path / "t", "--highpass", 0, "--json")
    assert json.loads(done.stdout)["kind"] == "mdgru"
    failed = run("mdgru", folder / "ckpt_2d/temp-4.0", "--out", tmp_path / "u", "--resgrux")
    assert "options of TensorFlow checkpoints" in failed.exception.message
