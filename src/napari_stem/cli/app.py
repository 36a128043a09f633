"""The command ``napari-stem`` itself: options that commands share, and what it ends with."""

from __future__ import annotations

import dataclasses
import errno
import functools
import gc
import inspect
import math
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from copy import copy
from pathlib import Path
from typing import Annotated, Any, get_args

import typer
from typer import Argument, Option
from typer.core import TyperGroup
from typer.models import ParameterInfo

from napari_stem.cli.terminal import MANNER, Interrupted, say, speak, speaking, tell_error
from napari_stem.errors import StemError
from napari_stem.io import unwritable
from napari_stem.settings import SamplingSettings, Setting, settings_of
from napari_stem.texts import NOTICE, clean_name, reason_of

FAILED, INTERRUPTED = 1, 130
OUT_OF_REACH = {errno.EACCES, errno.EPERM, errno.ENAMETOOLONG}
COMMAND_ORDER = (
    "demo",
    "info",
    "predict",
    "export",
    "evaluate",
    "import",
    "genes",
    "train",
    "convert",
)

NO_NUMBER = "write a number, such as 0.5"

# By field, options that are not called as it is; None: it has no option, and stays at its default.
Names = Mapping[str, str | None]
AS_FIELDS: Names = {}


def device_names() -> list[str]:
    """Name kinds of devices, for completion."""
    return ["auto", "cpu", "cuda", "mps"]


def model_names() -> list[str]:
    """Name the packaged models, for completion; a shell completes folders by itself."""
    from napari_stem.model import PACKAGED

    return sorted(folder.name for folder in PACKAGED.iterdir() if folder.is_dir())


def encoder_names(incomplete: str) -> list[str]:
    """Name encoders, for completion; also the next part of a combined one."""
    from napari_stem.encoders.catalogue import CATALOGUE
    from napari_stem.encoders.registry import BUNDLED

    before, plus, _ = incomplete.rpartition("+")
    return [before + plus + name for name in (BUNDLED, *CATALOGUE)]


def gene_set_names() -> list[str]:
    """Name the gene sets, for completion."""
    from napari_stem.spatial.gene_sets import gene_sets

    return list(gene_sets())


# of options that are made of settings, by field
COMPLETIONS: dict[str, Any] = {"device": device_names, "encoder": encoder_names}

MppOption = Annotated[
    float | None,
    Option(min=0.01, max=100, help="Micrometres per pixel, if the file does not say."),
]
Yes = Annotated[bool, Option("--yes", "-y", help="Do not ask.")]
ModelName = Annotated[str | None, Option(help="Name of the model; default: the folder's.")]
OverwriteModel = Annotated[bool, Option(help="Replace a model.")]
Device = Annotated[
    str,
    Option(help=settings_of(SamplingSettings)["device"].short_help, autocompletion=device_names),
]
SlidesArgument = Annotated[
    list[Path],
    Argument(
        help="Slides as 'info' reads them; several, 'slides/*.svs', a folder, or a manifest (.csv).",
        show_default=False,
    ),
]


def _set_manner(
    *,
    as_json: Annotated[
        bool, Option("--json", help="Print the result as JSON and nothing else.")
    ] = False,
    verbose: Annotated[
        int,
        Option(
            "--verbose",
            "-v",
            count=True,
            show_default=False,
            help="Say what is being done; -vv: in detail.",
        ),
    ] = 0,
    quiet: Annotated[
        bool, Option("--quiet", "-q", help="Say nothing but errors and results.")
    ] = False,
    log_file: Annotated[
        Path | None, Option(help="Also log everything, with times, to this file.")
    ] = None,
) -> None:
    """Set `MANNER` by the options that every command has.

    What is not given stays as it was given to the group: ``napari-stem -v predict``.
    """
    MANNER.as_json = as_json or MANNER.as_json
    refuse_if(verbose > 0 and quiet, "choose one of --verbose and --quiet.")
    if verbose or quiet or log_file is not None:
        speak(-1 if quiet else verbose or MANNER.verbosity, log_file)


class Group(typer.Typer):
    """A group of commands that all understand ``--json``, ``-v``, ``-q`` and ``--log-file``."""

    def command(self, name: str | None = None, **settings: Any) -> Callable[[Any], Any]:
        """Add a function as a command; `_as_command` says what its parameters become."""
        add = super().command(name, **settings)
        return lambda function: add(_as_command(function))

    def callback(self, **settings: Any) -> Callable[[Any], Any]:
        """Run a function before any command of the group; ``--json`` is the command's, where there is one."""
        add = super().callback(**settings)
        has_json = bool(settings.get("invoke_without_command"))
        return lambda function: add(_as_command(function, has_json=has_json))


def _as_command(function: Callable[..., Any], *, has_json: bool = True) -> Callable[..., Any]:
    """Make of a function what typer takes: `_parameters`, and with them the options of `_set_manner`.

    What settings refuse is a wrong command line.
    """
    manner = _parameters(_set_manner)
    if not has_json:
        del manner["as_json"]

    @functools.wraps(function)
    def command(**given: Any) -> Any:
        _set_manner(**{name: given.pop(name) for name in manner})
        try:
            values = _values(function, given)
        except StemError as error:
            raise typer.BadParameter(str(error)) from error
        return function(**values)

    parameters = [*_parameters(function).values(), *manner.values()]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {each.name: each.annotation for each in parameters}
    return command


def _members(asked: Any, names: Names) -> Iterator[tuple[str, Setting, Any, Names]]:
    """Give the parameters of a function, or fields of a dataclass, that have an option.

    With each goes the dataclass that is its type, if one is, and ``names`` with those it is annotated with.
    """
    for name, setting in settings_of(asked).items():
        if names.get(name, "") is not None:
            kinds = setting.kind, *get_args(setting.kind)
            inner = next((kind for kind in kinds if dataclasses.is_dataclass(kind)), None)
            own = next((note for note in setting.notes if isinstance(note, dict)), {})
            yield name, setting, inner, {**names, **own}


def _parameters(
    asked: Any, names: Names = AS_FIELDS, *, is_left_out: bool = False
) -> dict[str, inspect.Parameter]:
    """Make an option or argument of each parameter of a function, or field of a dataclass.

    One whose type is a dataclass stands for the fields of that, under the `Names` that it is annotated with;
    a name that both have is one option. Where such a dataclass may be None, it is if none of its options is
    given.
    """
    found: dict[str, inspect.Parameter] = {}
    for name, setting, inner, inner_names in _members(asked, names):
        if inner is None:
            found[name] = _parameter(name, setting, names.get(name), is_left_out=is_left_out)
        else:
            of_inner = _parameters(inner, inner_names, is_left_out=setting.default is None)
            found |= {each: of_inner[each] for each in of_inner if each not in found}
    return found


def _parameter(
    name: str, setting: Setting, option_name: str | None, *, is_left_out: bool
) -> inspect.Parameter:
    """Make an option as typer's annotation says, or else as `settings_of` does; a bool gets no ``--no-...``."""
    kind, default, notes = setting.kind, setting.default, setting.notes
    option: Any = next((copy(note) for note in notes if isinstance(note, ParameterInfo)), None)
    if option is None and kind is not typer.Context:
        option = Option(help=setting.short_help, autocompletion=COMPLETIONS.get(name))
        option.param_decls = (option_name,) if option_name else ()
        if (bounds := setting.bounds) is not None:
            option.min = None if bounds.is_open else bounds.least
            option.max = None if bounds.most == math.inf else bounds.most
        if kind == tuple[str, ...]:
            kind, default = str | None, None
            option.help = re.sub("[;.]", r", separated by commas\g<0>", setting.short_help, count=1)
        if is_left_out:
            option.show_default = False if default is None else str(default)
            default = None
    if option is not None and float in (kind, *get_args(kind)):
        option.callback = _finite
    # typer keeps a first name of its own as the default until it reads the signature
    if kind is bool and option.default is ... and not option.param_decls:
        option.param_decls = (f"--{name.replace('_', '-')}",)
    annotation = kind if option is None else Annotated[kind, option]
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
    )


def _finite(number: float | None) -> float | None:
    """Refuse ``inf`` and ``nan``, which typer takes for numbers within any bounds that are open or none."""
    refuse_if(number is not None and not math.isfinite(number), NO_NUMBER)
    return number


def _values(asked: Any, given: dict[str, Any], names: Names = AS_FIELDS) -> dict[str, Any]:
    """Give each parameter of a function, or field of a dataclass, what was given to its `_parameters`."""
    values = {}
    for name, setting, inner, inner_names in _members(asked, names):
        if inner is None:
            value = given[name]
            values[name] = listed(value) if setting.kind == tuple[str, ...] else value
            continue
        of_inner = _values(inner, given, inner_names)
        if setting.default is None:
            of_inner = {name: value for name, value in of_inner.items() if value is not None}
        values[name] = inner(**of_inner) if of_inner or setting.default is not None else None
    return values


def listed(words: str | None) -> tuple[str, ...]:
    """Split at commas; each once, in the order given."""
    names = (clean_name(word) for word in (words or "").split(","))
    return tuple(dict.fromkeys(name for name in names if name))


def refuse_if(is_wrong: bool, msg: str) -> None:
    """Refuse the command line."""
    if is_wrong:
        raise typer.BadParameter(msg)


def is_alone(context: typer.Context) -> bool:
    """Whether a group of commands was called without one of them; what else it takes is refused before one."""
    if (name := context.invoked_subcommand) is None:
        return True
    for each in context.command.params:
        source = context.get_parameter_source(each.name or "")
        is_given = source is not None and source.name == "COMMANDLINE"  # else a variable may say it
        refuse_if(
            is_given and each.name not in _parameters(_set_manner),
            f"{each.opts[0]} goes with '{context.command_path}' alone; options of '{name}' follow it, and "
            f"'{context.command_path} {name} -h' lists them.",
        )
    return False


# what typer says of a value, in pydantic's words, and what it means
_PLAIN_WORDS = (
    ("Value error, ", ""),
    (
        "Input should be a valid number, unable to parse string as a number",
        NO_NUMBER,
    ),
    (
        "Input should be a valid integer, unable to parse string as an integer",
        "write a whole number, such as 32",
    ),
    ("Input should be", "the value should be"),
)


def _in_plain_words(message: str) -> str:
    for said, meant in _PLAIN_WORDS:
        message = message.replace(said, meant)
    return message


class _Commands(TyperGroup):
    """Ends with one line and the right exit code, whatever a command raises."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run the command line."""
        with speaking():
            return super().main(*args, **kwargs)

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        ended: BaseException
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            error.message = _in_plain_words(error.message)
            raise
        except StemError as error:
            ended, reason, code = error, f"{type(error).__name__}: {error}", FAILED
        except (Interrupted, KeyboardInterrupt, typer.Abort) as stopped:
            if isinstance(stopped, typer.Abort):  # at a question, whose line is not ended
                typer.echo(err=True)
            ended, reason, code = stopped, str(stopped) or "Interrupted.", INTERRUPTED
        except OSError as error:
            # pathlib's, of what a user may not even look for, or of a full stdout
            if error.errno == errno.ENOSPC:
                reason = f"OutputError: {unwritable(Path(error.filename or 'stdout'), error)}"
            elif error.errno in OUT_OF_REACH and error.filename is not None:
                why = (
                    f"cannot be reached ({error.strerror}); check the path, or ask for permission."
                )
                reason = f"{error.filename} {why}"
            else:
                raise
            ended, code = error, FAILED
        except MemoryError as error:
            why = f"memory ran out ({reason_of(error)}); give it more, or ask for fewer genes or samples."
            ended, reason, code = error, f"MemoryError: {why}", FAILED
        tell_error(reason, ended)
        raise typer.Exit(code) from ended

    def list_commands(self, ctx: Any) -> list[str]:
        """Name the commands, in the order in which a newcomer needs them."""
        names = super().list_commands(ctx)
        first = [name for name in COMMAND_ORDER if name in names]
        return first + [name for name in names if name not in first]


app = Group(
    cls=_Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # fits 80 columns, and loads in half the time
    context_settings={"help_option_names": ["-h", "--help"]},
)
importing = Group(no_args_is_help=True, help="Turn published data into a data set folder.")
app.add_typer(importing, name="import")


def _say_version(is_wanted: bool) -> None:
    if is_wanted:
        from napari_stem import __version__

        say(f"napari-stem {__version__}")
        raise typer.Exit


@app.callback(
    help=f"Predicted gene expression maps with uncertainty from H&E slides. {NOTICE}",
    epilog="""'napari-stem COMMAND -h' lists a command's options.

\b
Variables of the environment:
NAPARI_STEM_CACHE              folder of all caches (see 'cache')
NAPARI_STEM_CACHE_GB           most GB of all caches together
NAPARI_STEM_ENCODERS           folder of encoders, where there is no internet
NAPARI_STEM_TRUST_REMOTE_CODE  1: run code that an encoder brings along
HF_HOME, HF_TOKEN              Hugging Face's own: its folder, and who you are
""",
)
def _root(
    version: Annotated[
        bool,
        Option(callback=_say_version, is_eager=True, help="Say the version."),
    ] = False,
) -> None:
    del version


# what they hold must go in Python's own order: triton complains of leaks otherwise, and Qt may crash
NEED_A_LAST_COLLECTION = {"triton", "qtpy"}


def main() -> None:
    """Run the command line; ends the process with 0, 1, 2 or 130."""
    if not sys.warnoptions:  # third parties' mean nothing to users; -W, -v, --log-file bring them
        warnings.simplefilter("ignore")
    try:
        app(prog_name="napari-stem")
    finally:
        if sys.modules.keys().isdisjoint(NEED_A_LAST_COLLECTION):
            gc.freeze()  # else Python looks through all of the libraries before it ends, for nothing
