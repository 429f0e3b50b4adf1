"""The target `litert`: a file for LiteRT (TensorFlow Lite) on small devices."""

import re
from pathlib import Path
from typing import Any

import numpy as np

from keras_seq.export.graph import quiet_converters, trace
from keras_seq.export.plan import Arrays, Plan, Run

PACKAGES = ("ai-edge-litert",)


def write_litert(plan: Plan, path: Path) -> None:
    """Writes a flat buffer of LiteRT's own operators alone.

    Raises:
        ValueError: If the network needs others, which the message names.
    """
    import tensorflow as tf

    with quiet_converters():
        module, concrete = trace(plan)
        converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], module)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        try:
            content = converter.convert()
        except tf.errors.OpError as error:
            raise _needs_others(error) from error
        except Exception as error:  # tf.lite's own error has no public name
            if type(error).__name__ != "ConverterError":
                raise
            raise _needs_others(error) from error
    path.write_bytes(content)


def _needs_others(error: Exception) -> ValueError:
    found = sorted(set(re.findall(r"'?(tf\.\w+)'? op", str(error))))
    return ValueError(
        "The network has operations that LiteRT has not: "
        f"{', '.join(found) or str(error)[:300]}. Export it to 'onnx' or 'savedmodel'."
    )


def run_litert(plan: Plan, path: Path) -> Run:
    """The file in LiteRT, which has no operators of TensorFlow here.

    Inputs of more rows than the file takes are run part by part.
    """
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=path.read_bytes())
    interpreter.allocate_tensors()
    runner = interpreter.get_signature_runner()
    size = next(iter(plan.inputs.values())).shape[0] or 1

    def run(inputs: Arrays) -> Arrays:
        given = {
            name: np.asarray(inputs[name], port.dtype)
            for name, port in plan.inputs.items()
        }
        rows = len(next(iter(given.values())))
        parts: list[dict[str, Any]] = []
        for start in range(0, rows, size):
            part = {name: x[start : start + size] for name, x in given.items()}
            short = size - len(next(iter(part.values())))
            if short:
                part = {
                    name: np.concatenate([x, np.repeat(x[-1:], short, axis=0)])
                    for name, x in part.items()
                }
            parts.append({name: x.copy() for name, x in runner(**part).items()})
        return {
            name: np.concatenate([part[name] for part in parts])[:rows]
            for name in plan.outputs
        }

    return run


def litert_runtime() -> str:
    """What the file was checked with."""
    from keras_seq.artifact import package_version

    return f"ai-edge-litert {package_version('ai-edge-litert')}"
