"""`score-jax models`: what models there are, and what one of them does."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from score_jax.cli import _console

if TYPE_CHECKING:
    from score_jax.inference import Predictor

app = typer.Typer(help="The shipped models, and what a model writes.", no_args_is_help=True)


@app.command("list")
def list_command(
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """List the models that ship with this version."""
    from score_jax import pretrained

    shipped = pretrained.registry()
    if json:
        _console.print_json({"models": shipped})
    elif shipped:
        rows = [[name, entry.get("summary", "")] for name, entry in shipped.items()]
        _console.print_table(["model", "what it does"], rows)
    else:
        _console.say("No model ships with this version; train one with `score-jax train`.")


@app.command("show")
def show_command(
    name: Annotated[str, typer.Argument(help="A shipped model's name, a run or model folder.")],
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show a model: regions and the value each is written as, spacing, orientation, checksum."""
    from score_jax import api, pretrained
    from score_jax.inference import Ensemble

    model = api.load_model(name)
    rules = [str(rule) for rule in model.postprocessing.rules]
    if isinstance(model, Ensemble):
        specs = [one.spec.to_json() for one in model.models]
        record = {"kind": model.kind, "models": specs}
        facts: dict[str, Any] = {"kind": "ensemble, probabilities averaged"}
        for folder, one in zip(model.folders, model.models, strict=True):
            facts[folder] = ", ".join(f"{key} {value}" for key, value in _facts(one).items())
    else:
        record, facts = model.spec.to_json(), _facts(model)
    card = pretrained.card_of(name) if name in pretrained.registry() else None
    if json:
        record |= {"postprocessing": rules, "sha256": model.sha256, "card": card}
        _console.print_json(record)
        return
    facts |= {"post-processing": "; ".join(rules) or "none"}
    facts |= {"weights sha256": ", ".join(model.sha256)}
    _console.print_table(["model", name], facts.items())
    _console.print_table(
        ["region", "labels", "written as"],
        [[r.name, ", ".join(map(str, r.labels)), r.value] for r in model.regions],
    )
    if card is not None:
        _console.say(f"\n{card}")


def _facts(model: "Predictor") -> dict[str, Any]:
    """What a network is and on which grid it works."""
    spec = model.spec
    sizes = ("own" if mm == 0 else f"{mm:g}" for mm in spec.preprocessing.spacing_mm)
    return {
        "kind": spec.kind,
        "channels": ", ".join(spec.channel_names),
        "orientation": spec.preprocessing.axcodes or "as stored",
        "spacing (mm)": " x ".join(sizes) or "as stored",
        "tile": " x ".join(map(str, spec.tile)),
        "members": len(model.members),
    }
