"""Gene panels: which genes a model predicts, chosen on training sections, named, or in a file.

Files hold one gene a line, GMT, a JSON list, or HEST-bench's ``var_50genes.json``.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import csr_matrix, vstack

from napari_stem.errors import DatasetError
from napari_stem.foreign import read_json
from napari_stem.spatial.gene_sets import as_measured, gene_set, gene_sets
from napari_stem.texts import clean_name, few, quoted, read_text, reason_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import anndata

    # of the training sections' raw counts; a DatasetError where they cannot give what is asked
    Rule = Callable[[Sequence[anndata.AnnData]], "PanelChoice"]

Panel = tuple[str, ...]
_log = logging.getLogger(__name__)

_HVG_PER_SECTION = 2000
_UNWANTED_PREFIXES = ("MT", "mt", "RP", "rp")  # mitochondrial and ribosomal, as published
_CONTROL_WORDS = ("BLANK", "Control")
_MIN_SPOT_FRACTION = 0.10
_CHOICE = re.compile(r"(hmhvg|hvg):(\d+)")
_SET, _MEASURED = "set:", "measured:"


@dataclass(frozen=True, kw_only=True)
class PanelChoice:
    """A panel as chosen, and what became of the genes asked for."""

    genes: Panel  # the panel: names as the sections hold them, each once
    # per part of the panel, genes that a section did not measure
    left_out: Mapping[str, Panel] = field(default_factory=dict)
    # per part, genes left out because no training section has a count of them
    never_seen: Mapping[str, Panel] = field(default_factory=dict)
    # genes taken under another name than the one written: written -> as measured
    renamed: Mapping[str, str] = field(default_factory=dict)

    def warn(self) -> None:
        """Log what was left out or renamed."""
        for note in self.notes():
            _log.warning(note)

    def notes(self) -> list[str]:
        """Return what a user should be told, a sentence each."""
        sentences = [
            f"{part}: {len(genes)} left out, not measured in every training section: "
            f"{', '.join(genes)}."
            for part, genes in self.left_out.items()
        ]
        sentences += [
            f"{part}: {len(genes)} left out, without a count in any training section: "
            f"{', '.join(genes)}."
            for part, genes in self.never_seen.items()
        ]
        if self.renamed:
            pairs = ", ".join(f"{written} is {name}" for written, name in self.renamed.items())
            sentences.append(f"Taken under the data set's names: {pairs}.")
        return sentences


def parse_panel(spec: str) -> Rule:
    """Turn what a user wrote into a choice of genes, to be made on the training sections.

    One part, or several joined by ``+``. Chosen on the sections: ``hmhvg:200`` (published Stem), ``hvg:50``
    (HEST-bench). Named: ``set:pam50``, ``set:pam50+mmr`` (`gene_sets`). In a file (`read_panel`):
    ``genes.txt``, ``var_50genes.json``, ``sets.gmt#NAME``. All genes of a file must be measured in every
    section; ``measured:genes.txt`` takes those that are. Of a named set, too, those are taken that are
    measured and have a count.

    DatasetError: the words fit no form, or a file cannot be used.
    """
    whole = _is_file(spec.removeprefix(_MEASURED))  # a file's own name may hold a plus
    words, named = [spec] if whole else spec.split("+"), False
    parts: list[Rule] = []
    for word in words:
        named = word.startswith(_SET) or (named and word in gene_sets())
        if named:
            known = gene_set(word.removeprefix(_SET))
            parts.append(partial(_those_measured, known.genes, f"Gene set '{known.name}'"))
        else:
            parts.append(_parse_part(word, spec))
    return lambda sections: _together([part(sections) for part in parts])


def _together(chosen: Sequence[PanelChoice]) -> PanelChoice:
    """Unite choices; the genes of the first come first."""
    return PanelChoice(
        genes=tuple(dict.fromkeys(gene for choice in chosen for gene in choice.genes)),
        left_out={k: v for choice in chosen for k, v in choice.left_out.items()},
        never_seen={k: v for choice in chosen for k, v in choice.never_seen.items()},
        renamed={k: v for choice in chosen for k, v in choice.renamed.items()},
    )


def _parse_part(word: str, spec: str) -> Rule:
    """Understand one part of a panel: a way to choose genes, such as hmhvg:200, or a file."""
    match = _CHOICE.fullmatch(word)
    if match:
        choose, n = {"hmhvg": hmhvg, "hvg": top_hvg}[match[1]], int(match[2])
        return lambda sections: PanelChoice(genes=choose(sections, n))
    name, _, set_name = word.removeprefix(_MEASURED).partition("#")
    if not _is_file(name):
        where = "" if word == spec else f" in '{spec}'"
        raise DatasetError(
            f"'{word}'{where} is no gene panel: write hmhvg:200, hvg:50, set:NAME, the path of a "
            f"file with one gene a line, or several of them joined by +."
        )
    genes = read_panel(Path(name), set_name or None)
    if word.startswith(_MEASURED):
        return partial(_those_measured, genes, f"Panel '{word}'")
    return partial(_all_measured, genes)


def _is_file(name: str) -> bool:
    try:
        return Path(name).is_file()
    except OSError:  # a list of genes, too long for a path
        return False


def _those_measured(genes: Panel, part: str, sections: Sequence[anndata.AnnData]) -> PanelChoice:
    """Take the genes that are measured in every section and seen in one."""
    names = _as_measured(genes, sections)
    measured = tuple(dict.fromkeys(name for name in names.values() if name is not None))
    if not measured:
        raise DatasetError(
            f"None of the {len(genes)} genes of {part} is measured in every training section "
            f"({few(genes)}); named sets are human, so "
            f"see that the names are of the data set's species."
        )
    totals = np.asarray(_pooled_counts(sections, list(measured)).sum(axis=0)).ravel()
    seen = tuple(name for name, total in zip(measured, totals, strict=True) if total > 0)
    absent = tuple(gene for gene, name in names.items() if name is None)
    silent = tuple(name for name in measured if name not in seen)
    if not seen:
        raise DatasetError(f"No training section has a count of any gene of {part}; choose others.")
    return PanelChoice(
        genes=seen,
        left_out={f"{part} of {len(genes)} genes": absent} if absent else {},
        never_seen={f"{part} of {len(genes)} genes": silent} if silent else {},
        renamed={gene: name for gene, name in names.items() if name in seen and name != gene},
    )


def _all_measured(genes: Panel, sections: Sequence[anndata.AnnData]) -> PanelChoice:
    """Take all genes, or refuse."""
    names = _as_measured(genes, sections)
    absent = [gene for gene, name in names.items() if name is None]
    if absent:
        raise DatasetError(
            f"{len(absent)} of the panel's {len(genes)} genes are not measured in every training "
            f"section ({few(absent)}); remove them, "
            f"or write measured:FILE to leave such genes out."
        )
    return PanelChoice(
        genes=tuple(dict.fromkeys(name for name in names.values() if name is not None)),
        renamed={gene: name for gene, name in names.items() if name and name != gene},
    )


def _as_measured(genes: Panel, sections: Sequence[anndata.AnnData]) -> dict[str, str | None]:
    """Each gene with the name under which every section measured it, None where one did not."""
    common = set(_common_genes(sections))
    return {gene: as_measured(gene, common) for gene in genes}


def _common_genes(sections: Sequence[anndata.AnnData]) -> list[str]:
    """Genes measured in every section, in alphabetical order."""
    if not sections:
        raise DatasetError("A gene panel needs at least one training section to be chosen on.")
    return sorted(set.intersection(*(set(section.var_names) for section in sections)))


def _pooled_counts(sections: Sequence[anndata.AnnData], genes: list[str]) -> csr_matrix:
    """Raw counts of all spots together: (spots, genes) float32."""
    return csr_matrix(vstack([csr_matrix(section[:, genes].X) for section in sections]))


def hmhvg(sections: Sequence[anndata.AnnData], n: int = 200) -> Panel:
    """High-mean, high-variance genes, the selection of published Stem (arXiv 2501.15598): n names, A to Z.

    Highly variable genes of each section (2,000, of those measured in all), united, without mitochondrial and
    ribosomal ones; of these, the genes among the first k by mean *and* by standard deviation of the raw
    counts of all spots together, k being the least that gives ``n``. ``sections`` are raw counts, all genes
    measured. Published Stem selects with the test section in view; pass training sections only.

    DatasetError: no sections, no gene that all of them measured, or fewer than n genes qualify.
    """
    from scipy.stats import rankdata

    common = _common_genes(sections)
    if not common:
        raise DatasetError(
            f"The {len(sections)} training sections have no gene in common; see that all name genes alike "
            f"(symbols or Ensembl ids) and are of one species."
        )
    candidates = sorted(
        gene
        for gene in set().union(*(_highly_variable(section[:, common]) for section in sections))
        if not gene.startswith(_UNWANTED_PREFIXES)
    )
    if not 0 < n <= len(candidates):
        raise DatasetError(
            f"A panel of {n} high-mean, high-variance genes was asked for; these sections have "
            f"{len(candidates)} to choose from."
        )
    counts = _pooled_counts(sections, candidates).toarray().astype(np.float64)
    by_mean, by_spread = (
        rankdata(-figure, method="ordinal") for figure in (counts.mean(axis=0), counts.std(axis=0))
    )
    # A gene enters at the k that is the worse of its two ranks; where two enter together and only
    # one is wanted, the one of larger mean.
    entry = np.lexsort((by_mean, np.maximum(by_mean, by_spread)))
    return tuple(sorted(candidates[i] for i in entry[:n]))


def top_hvg(sections: Sequence[anndata.AnnData], n: int = 50) -> Panel:
    """Most variable genes as HEST-bench chooses them (Jaume et al. 2024, arXiv 2406.16192): n names, A to Z.

    Genes seen in at least a tenth of the spots of every section; log1p of the raw counts of all spots
    together; scanpy's dispersion ranking. DatasetError: no sections, or fewer than n genes qualify.
    """
    import anndata
    import pandas as pd
    import scanpy

    candidates = [
        gene for gene in detected(sections) if not any(word in gene for word in _CONTROL_WORDS)
    ]
    if not 0 < n <= len(candidates):
        raise DatasetError(
            f"A panel of {n} highly variable genes was asked for; these sections have "
            f"{len(candidates)} that at least {_MIN_SPOT_FRACTION:.0%} of the spots show."
        )
    pooled = anndata.AnnData(
        _pooled_counts(sections, candidates), var=pd.DataFrame(index=candidates)
    )
    pooled.obs_names_make_unique()
    if not _varies(pooled):
        raise DatasetError(
            "No highly variable genes can be chosen: no two genes differ between the spots of these sections; "
            "see that they hold counts."
        )
    scanpy.pp.log1p(pooled)
    scanpy.pp.highly_variable_genes(pooled, n_top_genes=n)
    return tuple(pooled.var_names[pooled.var["highly_variable"]][:n])


def _highly_variable(section: anndata.AnnData) -> set[str]:
    """One section's highly variable genes, on library-size-normalised log counts; none where nothing varies."""
    import scanpy

    table = section.copy()
    if not _varies(table):
        return set()
    scanpy.pp.filter_cells(table, min_genes=1)
    scanpy.pp.filter_genes(table, min_cells=1)
    scanpy.pp.normalize_total(table)
    scanpy.pp.log1p(table)
    scanpy.pp.highly_variable_genes(table, n_top_genes=min(_HVG_PER_SECTION, table.n_vars))
    return set(table.var_names[table.var["highly_variable"]])


def _varies(table: anndata.AnnData) -> bool:
    """Whether two genes or more differ between spots; scanpy fails where there is nothing to rank."""
    counts = csr_matrix(table.X)
    if 0 in counts.shape:
        return False
    spread = counts.max(axis=0) - counts.min(axis=0)
    return bool((spread > 0).sum() > 1)


def detected(sections: Sequence[anndata.AnnData]) -> Panel:
    """Genes seen in at least a tenth of the spots of every section, in alphabetical order."""
    often_seen = []
    for section in sections:
        n_seen = np.asarray((section.X > 0).sum(axis=0)).ravel()
        often_seen.append(section[:, n_seen >= np.ceil(_MIN_SPOT_FRACTION * section.n_obs)])
    return tuple(_common_genes(often_seen))


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
