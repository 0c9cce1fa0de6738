"""Packs the built page, and the shipped models as it needs them, into the Python package.

`make web` runs this after the build. A page that is fresh stays as it is: after a change of the
shipped models alone, this script is enough and needs no Node.
"""

from pathlib import Path

from score_jax import api
from score_jax.web import page

HERE = Path(__file__).parent


def main() -> None:
    """Pack the page unless it is fresh, then export the shipped models."""
    if not page.ZIP.is_file() or page.stored_sha256() != page.sources_sha256(HERE):
        if not (HERE / "dist" / "index.html").is_file():
            raise SystemExit("web/dist holds no built page: run `make web`")
        page.pack(HERE / "dist", HERE)
    for name, facts in api.list_models().items():
        out = page.MODELS / f"{name}.onnx"
        api.export_model(name, out, format="onnx", licence=facts["licence"], replace=True)


if __name__ == "__main__":
    main()
