"""A plan as a TensorFlow graph, from which every graph target starts."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from keras_seq.export.loops import portable_loops
from keras_seq.export.plan import Plan, Port


def trace(plan: Plan) -> tuple[Any, Any]:
    """Traces a plan's function for the processor, with named inputs and outputs.

    Returns:
        A `tf.Module` that holds what the function needs, and the concrete function.
    """
    import tensorflow as tf

    def serve(**inputs: Any) -> dict[str, Any]:
        found = plan.function(inputs)
        return {name: tf.identity(found[name]) for name in plan.outputs}

    module = tf.Module()
    module.weights = [weight.value for weight in plan.model.variables]
    module.tracked = list(plan.tracked)
    specs = {name: _spec(name, port) for name, port in plan.inputs.items()}
    # The module must not have the function: saving would trace it again, elsewhere.
    function = tf.function(serve, autograph=False)
    with portable_loops(plan.model, plan.unroll):
        concrete = function.get_concrete_function(**specs)
    _check_operations(concrete)
    return module, concrete


def _spec(name: str, port: Port) -> Any:
    import tensorflow as tf

    return tf.TensorSpec(port.shape, port.dtype, name=name)


def _check_operations(concrete: Any) -> None:
    """Raises if a GPU's own operation got in, which no other machine could run."""
    graph = concrete.graph.as_graph_def()
    nodes = [*graph.node, *(n for f in graph.library.function for n in f.node_def)]
    found = sorted({node.op for node in nodes if "cudnn" in node.op.lower()})
    if found:
        raise RuntimeError(f"The traced network has operations of a GPU: {found}")


@contextmanager
def quiet_converters() -> Iterator[None]:
    """Keeps back what converters say of their own code and of what they leave out."""
    import tensorflow as tf

    logger = tf.get_logger()
    before = logger.level
    logger.setLevel("ERROR")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        logger.setLevel(before)
