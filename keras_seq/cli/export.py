"""`keras-seq export`: a saved model for another runtime."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from keras_seq.cli.options import Model

# Named here, since help must import nothing heavy.
Target = Annotated[
    str, typer.Argument(help="keras, savedmodel, onnx, litert or numpy.")
]
Output = Annotated[
    Path, typer.Argument(metavar="OUT", help="File to write; a folder for savedmodel.")
]
Opset = Annotated[
    int | None, typer.Option(help="onnx: version of the operators.", show_default=False)
]
BatchSize = Annotated[
    int | None, typer.Option(help="litert: rows at a time; default: 1.")
]
Steps = Annotated[
    int | None,
    typer.Option(
        help="litert: tokens of a text that is read as a whole, for networks that "
        "cannot be given one token at a time."
    ),
]


def export(
    target: Target,
    model: Model,
    output: Output,
    opset: Opset = None,
    batch_size: BatchSize = None,
    steps: Steps = None,
) -> None:
    """Write a saved model for another runtime, checked against its predictions."""
    from keras_seq.cli.backend import import_backend

    if not model.exists():
        raise ValueError(f"There is no file {model}.")
    if "tensorflow" not in sys.modules:  # all is written and checked on the processor
        os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    import_backend()
    from keras_seq.export import export_model

    given = {"opset": opset, "batch_size": batch_size, "steps": steps}
    options = {name: value for name, value in given.items() if value is not None}
    manifest = export_model(model, target, output, **options)
    print(f"saved {output}")
    if "check" in manifest:
        found = manifest["check"]
        print(
            f"checked in {found['runtime']}: at most "
            f"{found['max_abs_difference']:.2g} from the predictions, which reach "
            f"{found['scale']:.4g}"
        )
