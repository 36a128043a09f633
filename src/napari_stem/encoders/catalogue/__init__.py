"""The published encoders that can be used, and how.

Sources: the model cards, and the code of well-known tools that load the published weights strictly with the
same arguments (a wrong shape would have been noticed). `EncoderFacts.unconfirmed` names what is left.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_stem.encoders.catalogue.gated import GATED
from napari_stem.encoders.catalogue.ungated import UNGATED

if TYPE_CHECKING:
    from napari_stem.encoders.facts import EncoderFacts

CATALOGUE: dict[str, EncoderFacts] = {facts.name: facts for facts in (*GATED, *UNGATED)}
