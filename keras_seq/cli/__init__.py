"""The command line, `keras-seq`.

Only typer is imported before a command runs: help is answered at once.
"""

from keras_seq.cli.app import app, main

__all__ = ["app", "main"]
