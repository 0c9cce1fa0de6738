"""The command line. Each command is a thin module here: parse, call `score_jax`, print.

Nothing heavy is imported at the top of these modules: `--help` must answer at once.
"""

from typing import Annotated

import typer

from score_jax.cli import (
    _app,
    _version,
    active,
    areas,
    benchmark,
    check,
    compare,
    consensus,
    ensemble,
    evaluate,
    export,
    import_,
    lesions,
    longitudinal,
    models,
    plan,
    postprocess,
    predict,
    run,
    simulate,
    study,
    train,
    validate,
    view,
)

app = typer.Typer(
    name="score-jax",
    help="Spinal cord MRI segmentation and its numbers, in JAX.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    verbose: Annotated[
        bool,
        typer.Option("--verbose", help="With --version: all that a report of a fault needs."),
    ] = False,
) -> None:
    if version:
        typer.echo(_version.line())
        for name, value in (_version.describe() if verbose else {}).items():
            typer.echo(f"{name}: {value}")
        raise typer.Exit
    if verbose:
        raise typer.BadParameter("--verbose goes with --version", ctx=context)
    if context.invoked_subcommand is None:
        context.fail("Missing command.")


app.command("check")(check.command)
app.command("simulate")(simulate.command)
app.command("plan")(plan.command)
app.command("train")(train.command)
app.command("validate")(validate.command)
app.command("postprocess")(postprocess.command)
app.command("ensemble")(ensemble.command)
app.command("compare")(compare.command)
app.command("predict")(predict.command)
app.command("run")(run.command)
app.command("longitudinal")(longitudinal.command)
app.command("export")(export.command)
app.command("view")(view.command)
app.command("evaluate")(evaluate.command)
app.command("consensus")(consensus.command)
app.command("lesions")(lesions.command)
app.command("areas")(areas.command)
app.command("benchmark")(benchmark.command)
app.add_typer(active.app, name="active")
app.add_typer(import_.app, name="import")
app.add_typer(models.app, name="models")
app.add_typer(study.app, name="study")


def main() -> None:
    """Run the command line (the `score-jax` script)."""
    _app.run(app)
