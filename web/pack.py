"""Packs the built page, and the shipped models as it needs them, into the Python package.

`make web` runs this after the build.
"""

from pathlib import Path

from score_jax import api
from score_jax.web import page

HERE = Path(__file__).parent


def main() -> None:
    """Pack the page, then export the shipped models."""
    page.pack(HERE / "dist", HERE)
    for name, facts in api.list_models().items():
        out = page.MODELS / f"{name}.onnx"
        api.export_model(name, out, format="onnx", licence=facts["licence"], replace=True)


if __name__ == "__main__":
    main()
