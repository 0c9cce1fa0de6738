"""`score-jax view`: the page that shows and segments scans, served on this computer alone."""

from pathlib import Path
from typing import Annotated

import typer

from score_jax.cli import _console


def command(
    files: Annotated[
        list[Path] | None, typer.Argument(help="A scan to open, and masks of it (NIfTI).")
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option("--model", help="A model to offer, repeatable; by default all shipped ones."),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="Port; 0: any. By default 8642, or a free one."),
    ] = None,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open the page in the browser.")
    ] = True,
) -> None:
    """Show a scan and masks in the browser, segment there, and keep verdicts on their quality."""
    from score_jax import api

    server = api.view(files or [], models=model, port=port)
    with server:
        _console.say(f"The page is at {server.url} (this computer only); Ctrl-C ends it")
        if browser:
            import webbrowser

            webbrowser.open(server.url)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            _console.say("The page is closed")
