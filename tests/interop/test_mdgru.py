"""Weights of the original MD-GRU give its numbers; what does not fit is refused by name."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import score_jax as sj
from score_jax.errors import CheckpointError
from score_jax.interop import mdgru, torch_file


def last(x):
    return np.moveaxis(x, 1, -1)


def run(network, x):
    return jax.jit(lambda x: network(x))(x)


@pytest.mark.parametrize(
    ("which", "name"),
    [("2d", "temp-4.0"), ("2d", "legacy-4"), ("3d", "temp-3.0"), ("3d", "legacy-3")],
)
def test_torch_checkpoints(fixtures, which, name):
    folder = fixtures / "mdgru"
    network = mdgru.from_torch(folder / f"ckpt_{which}" / name)
    assert isinstance(network, sj.MDGRU)
    with np.load(folder / f"ckpt_{which}_expected.npz") as data:
        logits = run(network, last(data["x"]))
        np.testing.assert_allclose(logits, last(data["logits"]), atol=1e-5)


@pytest.mark.parametrize(
    ("name", "atol"), [("d_net_2d_8ch", 5e-5), ("e_net_3d_small", 2e-5), ("e_net_2d_fcnone", 2e-5)]
)
def test_architectures_are_read_from_the_shapes(fixtures, name, atol):
    with np.load(fixtures / "mdgru" / f"{name}.npz") as data:
        state = {key[2:]: data[key] for key in data.files if key.startswith("w/")}
        network = mdgru.from_torch({"module." + key: value for key, value in state.items()})
        np.testing.assert_allclose(run(network, last(data["x"])), last(data["logits"]), atol=atol)


@pytest.mark.parametrize("which", ["2d", "3d"])
def test_tensorflow_checkpoints(fixtures, which):
    folder = fixtures / "mdgru"
    network = mdgru.from_tensorflow(folder / f"tfckpt_{which}" / "temp-2")
    with np.load(folder / f"tfckpt_{which}_expected.npz") as data:
        np.testing.assert_allclose(run(network, data["x"]), data["logits"], atol=1e-5)


OPTIONS = {
    "concat": {},
    "resmdgru": {},
    "legacy_sum": {"legacy_cgru_addition": True},
    "put_r_back": {"put_r_back": True},
    "resgru": {"resgrux": True, "resgruh": True},
}


def option_weights(fixtures, name):
    with np.load(fixtures / "mdgru" / f"k_tf_{name}.npz") as data:
        found = dict(data)
    return {k[2:]: v for k, v in found.items() if k.startswith("w/")}, found


@pytest.mark.parametrize("name", OPTIONS)
def test_options_of_tensorflow(fixtures, name):
    weights, data = option_weights(fixtures, name)
    network = mdgru.from_tensorflow_variables(weights, **OPTIONS[name])
    np.testing.assert_allclose(run(network, data["x"]), data["logits"], atol=1e-5)
    if OPTIONS[name]:  # without the option the numbers are others
        plain = mdgru.from_tensorflow_variables(weights)
        assert np.abs(run(plain, data["x"]) - data["logits"]).max() > 1e-3


def test_an_input_that_does_not_divide_the_state_is_not_added(fixtures):
    """MD-GRU skips resgrux where U is not a multiple of C (block 2 here: 6 of 5)."""
    weights, _ = option_weights(fixtures, "put_r_back")
    plain = mdgru.from_tensorflow_variables(weights)
    added = mdgru.from_tensorflow_variables(weights, resgrux=True)
    pairs = [(n.layers[1].cells[0][0].x_kernel[...]) for n in (plain, added)]
    np.testing.assert_array_equal(*pairs)
    pairs = [(n.layers[0].cells[0][0].x_kernel[...]) for n in (plain, added)]
    assert np.abs(pairs[1] - pairs[0]).sum() == 2 * 4  # one tap of each of 2U gate outputs


def torch_state(rng, *, channels=2, units=3, outputs=2, taps=3):
    """A small 2-D network of one block, by torch's names."""
    state = {}
    for axis in range(2):
        for way in range(2):
            name = f"model.0.model.0.cgrus.{axis}.{way}."
            for kind, c_in in (("x", channels), ("h", units)):
                state[f"{name}filter_{kind}_gates"] = rng.normal(size=(2 * units, c_in, taps))
                state[f"{name}filter_{kind}_candidate"] = rng.normal(size=(units, c_in, taps))
            state[f"{name}bias_x_gates"] = rng.normal(size=2 * units)
            state[f"{name}bias_x_candidate"] = rng.normal(size=units)
    state["model.0.model.1.weight"] = rng.normal(size=(outputs, units, 1, 1))
    state["model.0.model.1.bias"] = rng.normal(size=outputs)
    return {key: value.astype(np.float32) for key, value in state.items()}


CELL = "model.0.model.0.cgrus.1.0."


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"model.0.model.1.bias": None}, "last block has no linear layer"),
        ({"model.0.model.1.weight": None}, "missing weights: block 1, linear layer, weight"),
        ({CELL + "bias_x_gates": None}, "missing weights: block 1, axis 2, forward, bias_x_gates"),
        ({CELL + "filter_x_candidate": None}, "no forward weights along axis 2"),
        ({CELL + "filter_x_gates": np.zeros((6, 3, 3))}, r"gates \(3, 3, 6\) and candidate"),
        ({CELL + "bias_x_gates": np.zeros(5)}, r"gates \(5,\) and candidate \(3,\)"),
        ({CELL + "filter_x_gates": np.zeros((6, 2, 3), np.int64)}, "got int64; expected floats"),
        ({"model.0.model.1.bias": np.zeros(3)}, r"linear layer: got shape \(3, 2\); expected"),
        ({"model.0.model.1.weight": np.zeros((2, 3, 3, 1))}, "expected one tap"),
        ({"model.0.model.1.weight": np.zeros(2)}, "expected one tap"),
        ({"model.0.model.2.weight": np.zeros(2)}, "unknown tensor model.0.model.2.weight"),
        ({"epoch": np.zeros(2)}, "unknown tensor epoch"),
        ({"x.model.0.model.1.bias": np.zeros(2)}, "networks under '' and 'x.'"),
        (
            {"model.1.model.0.cgrus.0.0.bias_x_gates": np.zeros(2)},
            "block 2 has no recurrent weights",
        ),
        (
            {"model.0.model.0.cgrus.2.0.bias_x_gates": np.zeros(6)},
            "without a place: block 1, axis 3, forward, bias_x_gates",
        ),
    ],
)
def test_states_that_do_not_fit_are_refused_by_name(rng, change, match):
    state = torch_state(rng) | change
    state = {key: value for key, value in state.items() if value is not None}
    with pytest.raises(CheckpointError, match=match) as caught:
        mdgru.from_torch(state)
    assert "\n" not in str(caught.value)


def test_a_state_made_by_hand_is_read(rng):
    network = mdgru.from_torch({"model": torch_state(rng)})
    assert network(jnp.ones((1, 4, 5, 2))).shape == (1, 4, 5, 2)


def test_even_kernels_and_other_ranks_are_refused(rng):
    with pytest.raises(CheckpointError, match=r"kernels of \(4, 4\) taps; expected odd"):
        mdgru.from_torch(torch_state(rng, taps=4))
    state = {key: np.zeros((3, 3)) if "filter" in key else value
             for key, value in torch_state(rng).items()}  # fmt: skip
    with pytest.raises(CheckpointError, match="kernels of 0 axes"):
        mdgru.from_torch(state)
    with pytest.raises(CheckpointError, match="no weights of an MD-GRU"):
        mdgru.from_torch({})


def test_files_of_other_programs_are_refused(fixtures, tmp_path):
    path = next((fixtures / "nnunet/model/plainconv_2d").rglob("*.pth"))
    with pytest.raises(CheckpointError, match="unknown tensor network_weights"):
        mdgru.from_torch(path)
    with pytest.raises(CheckpointError, match="plain pickle"):
        mdgru.from_torch(fixtures / "mdgru/ckpt_2d/temp.pickle")
    with pytest.raises(CheckpointError, match="No such file"):
        mdgru.from_tensorflow(tmp_path / "absent")


def test_unknown_variables_of_tensorflow_are_refused_by_name(fixtures):
    weights, _ = option_weights(fixtures, "concat")
    name = "default/1/mdgru/dim1/forward/rnn/CGRUCell/Gates/bn_x/scale"
    with pytest.raises(CheckpointError, match=f"unknown tensor {name}.*batch normalisation"):
        mdgru.from_tensorflow_variables(weights | {name: np.zeros(3)})
    assert mdgru.from_tensorflow_variables(
        weights | {"default/global_step": np.array(3), "default/1/W/Adadelta_1": np.zeros(3)}
    )


def test_the_optimiser_is_not_needed(fixtures):
    state = torch_file.read(fixtures / "mdgru/ckpt_2d/temp-4.0", only={"model"})
    assert list(state) == ["model"]
    assert any("dropconnect" in name for name in state["model"])
    assert mdgru.from_torch(state)


def test_dropconnect_factors_give_the_output_of_training(fixtures):
    """The masks of one training call, multiplied onto the kernels of a layer."""
    with np.load(fixtures / "mdgru" / "c_mdrnn_2d_dropconnect.npz") as data:
        found = dict(data)
    units = found["y"].shape[1]
    linear = {"weight": np.eye(units)[..., None, None], "bias": np.zeros(units)}
    state = {f"model.0.model.0.{k[2:]}": v for k, v in found.items() if k.startswith("w/")}
    state |= {f"model.0.model.1.{k}": v.astype(np.float32) for k, v in linear.items()}
    noisy = dict(state)
    for key, mask in found.items():
        if key.startswith("mask/"):
            name = "model.0.model.0." + key[5:].replace("dropconnect_", "filter_")
            noisy[name] = state[name] * mask
    for weights, key in ((state, "y"), (noisy, "y_train")):
        got = run(mdgru.from_torch(weights), last(found["x"]))
        np.testing.assert_allclose(got, last(found[key]), atol=1e-5)
