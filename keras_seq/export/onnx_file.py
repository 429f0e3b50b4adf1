"""The target `onnx`: a file for ONNX Runtime and its like."""

from pathlib import Path
from typing import Any

from keras_seq.export.graph import quiet_converters, trace
from keras_seq.export.plan import Arrays, Plan, Run

PACKAGES = ("onnx", "tf2onnx", "onnxruntime")
OPSET = 17


def write_onnx(plan: Plan, path: Path, opset: int = OPSET) -> None:
    """Writes the graph with its weights.

    Keras's LSTM becomes ONNX's own operator; other cells become loops.

    Args:
        plan: What to export.
        path: The file.
        opset: Version of ONNX's operators.
    """
    import tensorflow as tf

    with quiet_converters():
        import tf2onnx

        module, concrete = trace(plan)
        specs = [
            tf.TensorSpec(port.shape, port.dtype, name=name)
            for name, port in plan.inputs.items()
        ]
        function = tf.function(
            lambda *given: concrete(**dict(zip(plan.inputs, given, strict=True))),
            input_signature=specs,
            autograph=False,
        )
        model, _ = tf2onnx.convert.from_function(
            function, input_signature=specs, opset=opset
        )
    path.write_bytes(_with_names(model, plan).SerializeToString())


def _with_names(model: Any, plan: Plan) -> Any:
    """The model, if its inputs and outputs are those of the plan by name."""
    graph = model.graph
    for kind, given, wanted in (
        ("inputs", graph.input, plan.inputs),
        ("outputs", graph.output, plan.outputs),
    ):
        names = {port.name for port in given}
        if names != set(wanted):
            raise RuntimeError(
                f"tf2onnx gave the graph other {kind} than were asked for: "
                f"{sorted(names)} instead of {sorted(wanted)}"
            )
    return model


def run_onnx(plan: Plan, path: Path) -> Run:
    """The file in ONNX Runtime on the processor."""
    import onnxruntime

    session = onnxruntime.InferenceSession(
        path.read_bytes(), providers=["CPUExecutionProvider"]
    )
    names = list(plan.outputs)

    def run(inputs: Arrays) -> Arrays:
        given = {
            name: inputs[name].astype(port.dtype) for name, port in plan.inputs.items()
        }
        return dict(zip(names, session.run(names, given), strict=True))

    return run


def onnx_runtime() -> str:
    """What the file was checked with."""
    import onnxruntime

    return f"onnxruntime {onnxruntime.__version__}"
