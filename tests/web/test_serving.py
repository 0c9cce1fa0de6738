"""The server of `score-jax view`: what it gives, to whom, with which headers; the zip is fresh."""

import http.client
import json
import socket
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from score_jax import api, pretrained
from score_jax.cli import _console
from score_jax.errors import ConfigError
from score_jax.web import page
from score_jax.web.serve import HEADERS, Named, Server
from tests.commands import refused

from .conftest import serving

ROOT = Path(__file__).parents[2]


def test_the_page_was_built_of_these_sources():
    assert page.stored_sha256() == page.sources_sha256(ROOT / "web"), (
        "run `make web`, commit page.zip"
    )
    assert page.ZIP.stat().st_size < 12e6


def test_a_changed_source_is_seen(tmp_path):
    for name in ("index.html", "package-lock.json", "src/page/style.css", "src/main.ts"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    seen = {page.sources_sha256(tmp_path)}
    for name in ("index.html", "package-lock.json", "src/page/style.css", "src/main.ts"):
        (tmp_path / name).write_text("changed")
        seen.add(page.sources_sha256(tmp_path))
    (tmp_path / "node_modules").mkdir()
    (tmp_path / "node_modules" / "other.ts").write_text("not ours")
    assert len(seen | {page.sources_sha256(tmp_path)}) == 5


def test_licences_of_what_is_inside_travel_with_it():
    text = page.members()["licences.txt"].decode()
    for owner in ("Copyright (c) 2021, Niivue", "Microsoft Corporation", "2014-2021 Chris Rorden"):
        assert owner in text
    locked = json.loads((ROOT / "web" / "package-lock.json").read_text())["packages"]
    for name in ("fflate", "gl-matrix", "nifti-reader-js"):
        assert f"{name} {locked[f'node_modules/{name}']['version']} (MIT)" in text


def test_packing_twice_gives_equal_bytes(tmp_path):
    built = tmp_path / "built"
    (built / "assets").mkdir(parents=True)
    (built / "index.html").write_text("<p>")
    (built / "assets" / "a.js").write_text("1;")
    first, second = tmp_path / "1.zip", tmp_path / "2.zip"
    page.pack(built, ROOT / "web", first)
    (built / "index.html").touch()
    page.pack(built, ROOT / "web", second)
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize("name", pretrained.registry())
def test_shipped_models_are_packed(name):
    known = pretrained.registry()[name]
    model = page.shipped(name, known["sha256"], known["summary"])
    assert model is not None, "run `make web`, commit score_jax/web"
    assert len(model.onnx) < 8e6
    assert model.description["licence"] == known["licence"]
    assert page.shipped(name, ["0" * 64], "") is None


def ask(server, path, *, method="GET", host=None):
    port = server.server_address[1]
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request(method, path, headers={"Host": host or f"127.0.0.1:{port}"})
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer, content


def test_named_files_and_nothing_else(tmp_path):
    scan = tmp_path / "sub 01#%_T2w.nii"
    scan.write_bytes(b"scan")
    (tmp_path / "secret.txt").write_text("secret")
    files = {"index.html": b"<p>", "a/b.wasm": b"\0asm"}
    with serving(
        Server(files, [Named(scan, "scan"), Named(tmp_path / "gone.nii", "mask")], 0)
    ) as server:
        assert server.server_address[0] == "127.0.0.1"
        answer, content = ask(server, "/")
        assert (answer.status, content) == (200, b"<p>")
        for key, value in HEADERS.items():
            assert answer.headers[key] == value
        assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
        answer, content = ask(server, "/a/b.wasm?v=1")
        assert (answer.headers["Content-Type"], content) == ("application/wasm", b"\0asm")
        answer, content = ask(server, "/a/b.wasm", method="HEAD")
        assert (answer.headers["Content-Length"], content) == ("4", b"")
        open_ = f"/open/{server.token}"
        listed = json.loads(ask(server, f"{open_}/list.json")[1])
        assert [(one["name"], one["role"]) for one in listed] == [
            (scan.name, "scan"),
            ("gone.nii", "mask"),
        ]
        assert ask(server, f"{open_}/0")[1] == b"scan"
        other = "0" * len(server.token)
        for path in (
            f"{open_}/1", f"{open_}/2", f"{open_}/0/secret.txt", f"{open_}/0/../secret.txt",
            "/../secret.txt", f"{tmp_path}/secret.txt", f"/open/{other}/list.json", "/a",
            "//etc/passwd",
        ):  # fmt: skip
            assert ask(server, path)[0].status == 404, path
        assert ask(server, "/", host="evil.example")[0].status == 421
        assert ask(server, "/", host="evil.example:80")[0].status == 421
        assert ask(server, "/", host=f"localhost:{server.server_address[1]}")[0].status == 200
        assert ask(server, "/", method="POST")[0].status == 501


def test_ports(monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"--port: got {port}, which cannot be used"):
            Server({}, port=port)
        monkeypatch.setattr("score_jax.web.serve.PORT", port)
        with Server({}) as server:
            assert server.server_address[1] not in (0, port)


def test_the_command(run, tmp_path, monkeypatch):
    scan = tmp_path / "scan.nii.gz"
    nib.save(nib.Nifti1Image(np.zeros((3, 4, 5), np.uint8), np.eye(4)), scan)
    opened, said = [], []
    monkeypatch.setattr("webbrowser.open", opened.append)
    monkeypatch.setattr(_console, "say", said.append)

    def stop(self):
        assert [item.path.name for item in self.named.values()] == ["scan.nii.gz"]
        models = json.loads(self.files["models.json"])
        assert [model["name"] for model in models["models"]] == list(pretrained.registry())
        assert models["offline"] is False
        assert all(f"{model['path']}.onnx" in self.files for model in models["models"])
        raise KeyboardInterrupt

    monkeypatch.setattr(Server, "serve_forever", stop)
    assert run("view", scan, "--port", "0")[0] == 0
    assert len(opened) == 1
    assert opened[0].startswith("http://127.0.0.1:")
    assert run("view", scan, "--port", "0", "--no-browser")[0] == 0
    assert len(opened) == 1
    assert said[0].startswith(f"The page is at {opened[0].partition(':')[0]}")


def test_the_command_refuses(run, tmp_path):
    text = tmp_path / "letter.nii"
    text.write_text("no image, but a few words that are longer than a header's start")
    refused(run("view", text, "--no-browser"), "letter.nii", "expected a NIfTI header")
    refused(run("view", "--model", "nobody", "--no-browser"), "nobody", "shipped: cord, gm")


def test_exporting_refuses(run, tmp_path):
    out = tmp_path / "page"
    out.mkdir()
    (out / "thesis.txt").write_text("mine")
    refused(
        run("export", "gm", "--format", "web", "--out", out), "page", "exists already", "--replace"
    )
    refused(run("export", "gm", "--format", "web", "--out", out, "--replace"), "is no page")
    assert (out / "thesis.txt").read_text() == "mine"
    words = ("export", "gm", "--format", "web", "--weights", "int8", "--out", out)
    refused(run(*words), "'int8' for web")


def test_exporting_replaces_a_page(tmp_path):
    out = tmp_path / "page"
    facts = api.export_page(["gm"], out)
    (out / "old.txt").write_text("old")
    assert api.export_page(["gm"], out, replace=True) == facts
    assert not (out / "old.txt").exists()
    listed = json.loads((out / "models.json").read_text())
    assert listed["offline"] is True
    assert (out / f"{listed['models'][0]['path']}.onnx").read_bytes() == (
        page.MODELS / "gm.onnx"
    ).read_bytes()
    assert sum(p.stat().st_size for p in out.rglob("*") if p.is_file()) == facts["bytes"]
