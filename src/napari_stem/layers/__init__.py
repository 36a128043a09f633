"""From slides and predictions to what a viewer draws: arrays, where they lie, names and colours.

Imports no viewer.
"""
