"""Gene panels in files: one gene a line, GMT, JSON list, or HEST-bench's ``var_50genes.json``."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from napari_stem.errors import DatasetError
from napari_stem.foreign import read_json
from napari_stem.texts import clean_name, few, quoted, read_text, reason_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def read_panel(path: Path, set_name: str | None = None) -> tuple[str, ...]:
    """Read the genes of a file, each once, in its order; its ending says how.

    ``.gmt``: a set a line: name, description and genes, separated by tabs (Broad Institute); ``set_name``
    says which, None if it holds one only. ``.json``: a list of genes, or an object with such a list as
    ``genes`` (HEST-bench). Any other: one gene a line; empty lines and lines that start with # are skipped.

    DatasetError: the file cannot be read, names no gene, names one twice, or has no such set.
    """
    try:
        text = read_text(path)
    except FileNotFoundError:
        raise DatasetError(f"There is no gene panel {path}; check the path.") from None
    except (OSError, ValueError) as error:
        raise DatasetError(
            f"Gene panel {path} cannot be read: {reason_of(error)}; give a text file with one gene a line."
        ) from error
    suffix = path.suffix.lower()
    if set_name is not None and suffix != ".gmt":
        raise DatasetError(f"Gene panel {path} is no .gmt file, so it has no set '{set_name}'.")
    if suffix == ".gmt":
        genes = _of_gmt(text, path, set_name)
    elif suffix == ".json":
        genes = _of_json(text, path)
    else:
        genes = _of_lines(text, path)
    return _checked(genes, path)


def _of_lines(text: str, path: Path) -> list[str]:
    lines = (line.strip() for line in text.splitlines())
    genes = [line for line in lines if line and not line.startswith("#")]
    for gene in map(clean_name, genes):
        if len(gene.split()) > 1 or "," in gene or ";" in gene:
            raise DatasetError(
                f"Gene panel {path} has a line '{quoted(gene)}'; write one gene a line."
            )
    return genes


def _of_gmt(text: str, path: Path, set_name: str | None) -> list[str]:
    rows = [line.split("\t") for line in text.splitlines() if line.strip()]
    short = next((row[0] for row in rows if len(row) < 3), None)
    if short is not None:
        raise DatasetError(
            f"Gene panel {path} has a line '{quoted(short)}' without genes; a .gmt line holds name, "
            f"description and genes, separated by tabs."
        )
    sets = {row[0].strip(): row[2:] for row in rows}
    if set_name is None and len(sets) == 1:
        return next(iter(sets.values()))
    if set_name is None or set_name not in sets:
        missing = "holds" if set_name is None else f"has no set '{set_name}'; it holds"
        raise DatasetError(
            f"Gene panel {path} {missing} {len(sets)} sets ({few(sets)}); write {path}#NAME."
        )
    return sets[set_name]


def _of_json(text: str, path: Path) -> list[str]:
    try:
        content: Any = read_json(text)
    except ValueError as error:
        raise DatasetError(
            f"Gene panel {path} cannot be read as JSON: {reason_of(error)}."
        ) from error
    genes = content.get("genes") if isinstance(content, dict) else content
    if not isinstance(genes, list) or not all(isinstance(gene, str) for gene in genes):
        raise DatasetError(
            f'Gene panel {path} must hold a JSON list of gene names, or {{"genes": [...]}}.'
        )
    return genes


def _checked(stored: Sequence[str], path: Path) -> tuple[str, ...]:
    genes = [gene for gene in map(clean_name, stored) if gene]
    if not genes:
        raise DatasetError(f"Gene panel {path} names no gene; write one a line.")
    if len(set(genes)) != len(genes):
        repeated = next(gene for gene, n in Counter(genes).items() if n > 1)
        raise DatasetError(f"Gene panel {path} names {quoted(repeated)} more than once.")
    return tuple(genes)
