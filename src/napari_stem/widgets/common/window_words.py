"""Sentences that name an option of the command line, as the dock calls it."""

from __future__ import annotations

# What is said elsewhere -> what a person at the dock would look for; longer ones first.
_WORDS = {
    "HF_HUB_OFFLINE forbids downloads; unset it": "“Work offline” forbids downloads; untick it",
    "HF_HUB_OFFLINE forbids asking; unset it": "“Work offline” forbids asking; untick it",
    "log in with `hf auth login` and a token": "enter a token",
    "then log in with `hf auth login`": "then enter your token with “Enter token…”",
    "`hf auth login`": "“Enter token…”",
    "of $NAPARI_STEM_ENCODERS": "inside that of “Use a folder…”",
    "(Without internet: $NAPARI_STEM_ENCODERS.)": "(Without internet: “Use a folder…”.)",
    "or give --model a folder or .zip with its files": "or add a folder or .zip with its files",
    "choose another place with --to": "choose another place with the variable HF_HOME",
    "give those of this slide with --embeddings": "choose those of this slide under “Embeddings”",
    "with --encoder (such as uni)": "under “Made by” (such as uni)",
    "--encoder": "“Made by”",
    "--patch-px": "“Patch side”",
    "--coordinates": "“Places”",
    "with --tolerance": "under “Tolerance”",
    " um per pixel": " µm per pixel",
    " um wide": " µm wide",
    "state the right one with --mpp or in the Slide panel": "state the right one under “Change pixel size…”",
}


def in_window_words(sentence: str) -> str:
    """Say a sentence so that it names what is in the window."""
    for elsewhere, here in _WORDS.items():
        sentence = sentence.replace(elsewhere, here)
    return sentence
