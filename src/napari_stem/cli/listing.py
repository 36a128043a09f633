"""``info``; ``encoders`` and ``models``, listed, checked, downloaded and given away."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Argument, Option

from napari_stem.cli.app import Group, MppOption, Yes, app, encoder_names, is_alone, model_names
from napari_stem.cli.tables import say_list
from napari_stem.cli.terminal import MANNER, agreed, answer, progress_bars, say, tell
from napari_stem.errors import EncoderError, ModelError
from napari_stem.hub import use_encoder_folder
from napari_stem.slide.recognising import READERS
from napari_stem.texts import count, plain

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari_stem.model.bundle import Model
    from napari_stem.model.config import ModelConfig


@app.command()
def info(
    slide: Annotated[str, Argument(help="File, folder or URL of an OME-Zarr.", show_default=False)],
    mpp: MppOption = None,
    reader: Annotated[str | None, Option(help=f"Insist on a reader: {', '.join(READERS)}.")] = None,
    check_scale: Annotated[
        bool,
        Option(help="Compare the pixel size with the width of nuclei."),
    ] = False,
) -> None:
    """Say a slide's size, levels, pixel size and readers."""
    from napari_stem.geometry import Mpp
    from napari_stem.slide import describe, open_slide

    MANNER.keep_slides_private(slide)
    stated = None if mpp is None else Mpp.square(mpp)
    facts = describe(slide, stated, reader=reader)
    if check_scale:
        from napari_stem.slide.scale_check import check_scale as measure

        with open_slide(slide, stated, reader=reader) as opened:
            facts["scale_check"] = measure(opened).as_json()
    answer(facts, _say_slide)


def _say_slide(facts: Mapping[str, Any]) -> None:
    mpp = facts["mpp"]
    size = f"{facts['width_px']} x {facts['height_px']} px"
    if mpp is not None:
        height_mm, width_mm = mpp[0] * facts["height_px"] / 1e3, mpp[1] * facts["width_px"] / 1e3
        size += f", {width_mm:.2f} x {height_mm:.2f} mm"
    sources = facts["mpp_sources"]
    lines = [
        ("size", size),
        ("pixel size", _pixel_size(mpp, sources[0]["source"] if sources else None)),
        *(("", f"({_pixel_size(s['mpp_um'], s['source'])})") for s in sources[1:]),
    ]
    if facts["mpp_conflict"]:
        lines.append(("note", facts["mpp_conflict"]))
    if "scale_check" in facts:
        lines.append(("nuclei", facts["scale_check"]["told"]))
    lines += [
        ("levels", ", ".join(f"{v['width_px']} x {v['height_px']}" for v in facts["levels"])),
        ("colour", str(facts["properties"].get("colour", "as stored"))),
        ("other images", ", ".join(each["name"] for each in facts["associated"]) or "none"),
        ("vendor", facts["vendor"]),
        ("reader", facts["reader"]),
    ]
    for name, why in facts["readers"].items():
        lines.append((f"reader {name}", why or "can open it"))
    for name, text in lines:
        say(f"{name:<16} {plain(text)}")


def _pixel_size(mpp: Sequence[float] | None, source: str | None) -> str:
    if mpp is None:
        return "unknown; state it with --mpp"
    size = f"{mpp[1]:.4g} x {mpp[0]:.4g} um (x, y)"
    return size if source is None else f"{size}, {source}"


encoding = Group(help="List the image encoders, or download one.")
app.add_typer(encoding, name="encoders")

EncoderFolder = Annotated[
    Path | None,
    Option(
        "--encoder-folder",
        envvar="NAPARI_STEM_ENCODERS",
        help="Folder of encoders (FOLDER/NAME/...), where there is no internet.",
    ),
]


@encoding.callback(invoke_without_command=True)
def encoders(context: typer.Context, encoder_folder: EncoderFolder = None) -> None:
    """List the image encoders: which are ready, and what the others need."""
    if not is_alone(context):
        return
    from napari_stem.encoders.registry import list_encoders

    if encoder_folder is not None:
        use_encoder_folder(encoder_folder)
    answer(list_encoders(), _say_encoders)


def _say_encoders(rows: list[dict[str, Any]]) -> None:
    columns = {
        "name": "encoder",
        "status": "status",
        "size_mb": "MB",
        "width": "width",
        "licence": "licence",
        "description": "what it is",
        "why_not": "what to do",
    }
    say_list(rows, columns, "Encoders (join them with +: uni+conch)")


@encoding.command()
def download(
    name: Annotated[
        str,
        Argument(help="As 'napari-stem encoders' lists it.", autocompletion=encoder_names),
    ],
    to: Annotated[
        Path | None, Option(help="Folder of encoders instead of Hugging Face's cache.")
    ] = None,
) -> None:
    """Download an encoder from Hugging Face.

    Log in with 'hf auth login' first where its terms ask for it.
    """
    from napari_stem.encoders import hub
    from napari_stem.encoders.catalogue import CATALOGUE
    from napari_stem.encoders.registry import BUNDLED, parse_name

    done = []
    for part in parse_name(name):
        if part.name == BUNDLED:
            tell("The bundled encoder is part of the program.")
            continue
        facts = CATALOGUE[part.name]
        tell(
            f"Encoder '{facts.name}', {facts.size_mb} MB, from {facts.page}; licence: {facts.licence}."
        )
        with progress_bars() as bars:
            folder = hub.download(facts, to, bars.of_bytes(f"Downloading {facts.name}"))
        done.append({"name": facts.name, "folder": str(folder)})
    answer(done, _say_folders)


def _say_folders(rows: list[dict[str, str]]) -> None:
    for row in rows:
        say(f"{row['name']}: {row['folder']}")


modelling = Group(help="List the models, check one, or give one away.")
app.add_typer(modelling, name="models")

ModelFolder = Annotated[Path, Argument(help="Model folder.", show_default=False)]


@modelling.callback(invoke_without_command=True)
def models(
    context: typer.Context,
    genes: Annotated[
        str | None,
        Option(
            help="Print the genes of this model, one a line; those told from chance come first.",
            autocompletion=model_names,
        ),
    ] = None,
) -> None:
    """List the models that can be used."""
    if not is_alone(context):
        return
    from napari_stem.model import find_model, list_models
    from napari_stem.model.config import read_config

    if genes is not None:
        _list_genes(genes, read_config(find_model(genes)))
    else:
        answer(list_models(), _say_models)


def _say_models(rows: list[dict[str, Any]]) -> None:
    columns = {
        "name": "model",
        "ready": "ready",
        "tissue": "tissue",
        "species": "species",
        "n_genes": "genes",
        "unit": "unit",
        "calibrated": "calibrated",
        "encoder": "encoder",
        "licence": "licence",
        "why_not": "why not",
    }
    say_list(rows, columns, "Models (or give --model a model folder)")


def _list_genes(name: str, config: ModelConfig) -> None:
    """Print the genes of a model; what is known of them as JSON alone, since a list is read as a panel."""
    from napari_stem.model.card import genes_note
    from napari_stem.model.genes import BY_CHANCE, gene_accuracy

    accuracy = gene_accuracy(config.card, config.genes)
    absent = list(config.card.get("genes_not_measured", ()))
    known = accuracy.astype(object).where(accuracy.notna(), None).to_dict("index")

    def say_genes(_: object) -> None:
        by_chance = accuracy["by_chance"]
        say("\n".join(accuracy.index[~by_chance]))
        if by_chance.any():
            say("\n".join([f"# The prediction of these {BY_CHANCE}:", *accuracy.index[by_chance]]))
        if absent:
            tell(f"Not measured in the training data: {', '.join(absent)}.")
        if note := genes_note(config):
            tell(f"{note} --json says how well each is predicted.")

    result = {"name": name, "genes": list(config.genes), "known": known, "not_measured": absent}
    answer(result, say_genes)


@modelling.command()
def check(
    model: Annotated[
        str,
        Argument(
            help="Name, folder, .zip, or org/name on Hugging Face.",
            show_default=False,
            autocompletion=model_names,
        ),
    ],
) -> None:
    """Load a model, verify it, and say whether its encoder is ready."""
    from napari_stem.model import find_model
    from napari_stem.model.bundle import load_folder
    from napari_stem.model.config import CARD_FILE
    from napari_stem.model.sources import others

    folder = find_model(model)
    loaded = load_folder(folder)
    why_not = _encoder_why_not(loaded)
    found = {
        "name": loaded.name,
        "folder": str(folder),
        "format_version": loaded.config.format_version,
        "weights_sha256": loaded.weights_hash,
        "n_genes": len(loaded.genes),
        "unit": loaded.unit,
        "licence": loaded.card.get("licence"),
        "tissue": loaded.card.get("tissue"),
        "species": loaded.card.get("species"),
        "encoder": loaded.encoder_name,
        "encoder_ready": why_not is None,
        "encoder_why_not": why_not,
        "card_why_not": _card_why_not(folder / CARD_FILE),
        "not_read": others(folder),
    }
    answer(found, _say_checked)


def _say_checked(found: dict[str, Any]) -> None:
    say(
        f"Model '{found['name']}' is sound: {count(found['n_genes'], 'gene')} ({found['unit']}), licence "
        f"{found['licence']}, weights SHA-256 {found['weights_sha256']}."
    )
    say(f"Encoder '{found['encoder']}': {found['encoder_why_not'] or 'ready'}.")
    if found["card_why_not"]:
        say(f"Its card is not one for Hugging Face: {found['card_why_not']}")
    if found["not_read"]:
        say(f"Never read, and not part of the model: {', '.join(found['not_read'])}.")


@modelling.command()
def pack(
    folder: ModelFolder,
    out: Annotated[Path, Option(help=".zip to write.", show_default=False)],
) -> None:
    """Write a model as one .zip, which 'predict --model' takes."""
    from napari_stem.model.bundle import load_folder
    from napari_stem.model.sources import others
    from napari_stem.model.sources import pack as write

    load_folder(folder)  # what cannot be loaded here cannot be loaded by others
    write(folder, out)
    n_bytes = out.stat().st_size
    result = {"out": str(out), "bytes": n_bytes, "left_out": others(folder)}
    answer(result, f"{out}, {n_bytes / 1e6:.1f} MB.")


@modelling.command()
def push(
    folder: ModelFolder,
    repo: Annotated[str, Option(help="org/name on Hugging Face.", show_default=False)],
    licence: Annotated[
        str | None, Option(help="Such as cc-by-4.0, if the model states none.")
    ] = None,
    private: Annotated[bool, Option(help="Make the repository private.")] = False,
    yes: Yes = False,
) -> None:
    """Publish a model on Hugging Face.

    Log in with 'hf auth login' first.
    """
    from napari_stem.model import pushing

    upload = pushing.prepared(folder, repo, licence)
    seen_by = "seen by you and its members alone, if it is new" if private else "seen by everybody"
    tell(f"To {upload.page} ({seen_by}), under licence {upload.licence}:")
    for name, size in upload.sizes.items():
        tell(f"  {name}  {size / 1e6:.2f} MB")
    if not upload.n_metrics:
        tell(
            "The card holds no figures of held-out sections: nobody can tell how good the model is."
        )
    if upload.left_out:
        tell(f"Not sent: {', '.join(upload.left_out)}.")
    if not yes and not agreed("Send it?", "sent", "send it"):
        tell("Nothing was sent.")
        return
    commit = pushing.push(upload, private=private)
    result = {
        "repository": upload.repository,
        "page": upload.page,
        "commit": commit,
        "private": private,
        "licence": upload.licence,
        "files": upload.sizes,
        "left_out": list(upload.left_out),
    }
    answer(result, f"Sent: {upload.page}. It is used with --model {upload.repository}.")


def _encoder_why_not(model: Model) -> str | None:
    from napari_stem.encoders.registry import list_encoders, parse_name
    from napari_stem.model.serving import encoder_of

    rows = {row["name"]: row for row in list_encoders()}
    try:
        reasons = [rows[part.name]["why_not"] for part in parse_name(model.encoder_name)]
    except EncoderError as error:
        return f"{error} Give embeddings with --embeddings"
    reason: str | None = next(filter(None, reasons), None)
    if reason is not None:
        return reason
    try:  # of the version that the model was trained with?
        encoder_of(model, "cpu")
    except EncoderError as error:
        return str(error).removesuffix(".")
    return None


def _card_why_not(path: Path) -> str | None:
    from napari_stem.model.pushing import read_card

    if not path.is_file():
        return f"{path.name} is missing"
    try:
        read_card(path)
    except ModelError as error:
        return str(error)
    return None
