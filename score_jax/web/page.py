"""The built page: the files in ``page.zip``, the models beside them, and how the zip is made."""

import hashlib
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from score_jax.imaging import atomic

HERE = Path(__file__).parent
ZIP = HERE / "page.zip"
MODELS = HERE  # NAME.onnx and NAME.onnx.json of each shipped model
DIGEST = "sources.sha256"  # member of the zip: of which sources it was built
NUMERICS = "numerics.js"  # member of the zip: for tests outside a browser, not part of the page
_SOURCES = ("*.html", "*.json", "*.ts", "src/**/*.ts", "src/**/*.css", "licences/*.txt")
_STAMP = (1980, 1, 1, 0, 0, 0)  # equal files, equal bytes


@dataclass(frozen=True, slots=True)
class WebModel:
    """A model that the page offers.

    Args:
      name: how users call it.
      summary: what it does, in a line.
      onnx: the network.
      description: of the model (`score_jax.export.describe`), as plain values.
    """

    name: str
    summary: str
    onnx: bytes
    description: Mapping[str, Any]


def members() -> dict[str, bytes]:
    """The page's files by their path from its folder."""
    with zipfile.ZipFile(ZIP) as stored:
        names = [name for name in stored.namelist() if name not in (DIGEST, NUMERICS)]
        return {name: stored.read(name) for name in names}


def model_files(models: Sequence[WebModel], *, offline: bool) -> dict[str, bytes]:
    """The files by which the page finds its models, by their path from its folder.

    Args:
      models: in the order in which the page lists them; none makes it a viewer alone.
      offline: whether a service worker keeps the page for use without a network.
    """
    files: dict[str, bytes] = {}
    listed = []
    for model in models:
        # the address changes with the weights: a browser that kept the old ones asks again
        path = f"models/{model.name}-{hashlib.sha256(model.onnx).hexdigest()[:12]}"
        files[f"{path}.onnx"] = model.onnx
        files[f"{path}.onnx.json"] = as_json(model.description)
        listed.append(
            {
                "name": model.name,
                "path": path,
                "summary": model.summary,
                "regions": [region["name"] for region in model.description["spec"]["regions"]],
                "licence": model.description["licence"] or "no licence stated",
            }
        )
    return {"models.json": as_json({"models": listed, "offline": offline}), **files}


def shipped(name: str, sha256: Sequence[str], summary: str) -> WebModel | None:
    """The network of a shipped model as the package holds it; None if it has none of these weights.

    Args:
      name: of the model.
      sha256: checksums of its members' weights.
      summary: what it does.
    """
    path = MODELS / f"{name}.onnx"
    beside = path.with_name(path.name + ".json")
    if not (path.is_file() and beside.is_file()):
        return None
    description = json.loads(beside.read_text())
    if list(description["sha256"]) != list(sha256):
        return None
    return WebModel(name, summary, path.read_bytes(), description)


def sources_sha256(folder: Path) -> str:
    """Checksum of the sources in `folder` (the repository's ``web``), the lock file included."""
    found = {path for pattern in _SOURCES for path in folder.glob(pattern)}
    digest = hashlib.sha256()
    for path in sorted(found):
        name = path.relative_to(folder).as_posix().encode()
        content = path.read_bytes()
        digest.update(b"%d %s %d " % (len(name), name, len(content)) + content)
    return digest.hexdigest()


def stored_sha256() -> str:
    """Checksum of the sources that ``page.zip`` was built of."""
    with zipfile.ZipFile(ZIP) as stored:
        return stored.read(DIGEST).decode()


def pack(built: Path, sources: Path, out: Path = ZIP) -> None:
    """Write `out` from a built page; equal files give equal bytes.

    Args:
      built: the folder that the build wrote.
      sources: the folder of the sources.
      out: the zip.
    """
    content = {
        path.relative_to(built).as_posix(): path.read_bytes()
        for path in built.rglob("*")
        if path.is_file()
    }
    content[DIGEST] = sources_sha256(sources).encode()
    with atomic(out) as temporary, zipfile.ZipFile(temporary, "w") as stored:
        for name in sorted(content):
            stored.writestr(
                zipfile.ZipInfo(name, _STAMP), content[name], zipfile.ZIP_DEFLATED, compresslevel=9
            )


def as_json(value: Any) -> bytes:
    """A value as the text that the page reads."""
    return json.dumps(value, indent=1).encode()
