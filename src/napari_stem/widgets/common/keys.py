"""Every key of the dock: what binds them and what lists them read this one table."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Key:
    """One key.

    Attributes
    ----------
    sequence
        As Qt writes it.
    meaning
        What it does, in the user's words.
    """

    sequence: str
    meaning: str


RUN = Key("Ctrl+Return", "Run the prediction")
UNDO = Key("Ctrl+Z", "Take back the last change of a region")
REDO = Key("Ctrl+Shift+Z", "Make it again")
SAVE = Key("Ctrl+S", "Save the session: slides, regions, predictions, view")
HELP = Key("F1", "These keys")
WHOLE_SLIDE = Key("Home", "Show the whole slide")
OVERVIEW = Key("Shift+Home", "Show or close the overview in a window of its own")
REMOVE_REGION = Key("Del", "Remove the chosen regions (in the table, or on the slide)")
NEXT_GENE = Key("PgDown", "Next gene of the list")
PREVIOUS_GENE = Key("PgUp", "Previous gene of the list")
FAVOURITE = Key("F", "Mark the gene chosen in the list as a favourite, or no longer")
NEXT_SAMPLE = Key(".", "Next single sample")
PREVIOUS_SAMPLE = Key(",", "Previous single sample")
SEE_PREDICTED = Key("Alt+1", "Predicted")
SEE_MEASURED = Key("Alt+2", "Measured")
SEE_DIFFERENCE = Key("Alt+3", "Predicted minus measured")

GROUPS: dict[str, tuple[Key, ...]] = {
    "Everywhere on the panel": (RUN, UNDO, REDO, SAVE, WHOLE_SLIDE, OVERVIEW, HELP),
    "Genes": (PREVIOUS_GENE, NEXT_GENE, FAVOURITE),
    "Uncertainty, while single samples are shown": (PREVIOUS_SAMPLE, NEXT_SAMPLE),
    "Measured data, once they are loaded": (SEE_PREDICTED, SEE_MEASURED, SEE_DIFFERENCE),
    "Regions": (REMOVE_REGION,),
}
