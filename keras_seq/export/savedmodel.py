"""The target `savedmodel`: a folder that TensorFlow serves."""

from pathlib import Path

from keras_seq.export.graph import trace
from keras_seq.export.plan import Arrays, Plan, Run


def write_savedmodel(plan: Plan, path: Path) -> None:
    """Writes the folder, its function under the name `serving_default`."""
    import tensorflow as tf

    module, concrete = trace(plan)
    tf.saved_model.save(module, str(path), signatures={"serving_default": concrete})


def run_savedmodel(plan: Plan, path: Path) -> Run:
    """The function loaded from the folder."""
    import tensorflow as tf

    loaded = tf.saved_model.load(str(path))
    serve = loaded.signatures["serving_default"]

    def run(inputs: Arrays) -> Arrays:
        given = {
            name: tf.constant(inputs[name], port.dtype)
            for name, port in plan.inputs.items()
        }
        # The function lives as long as what it was loaded with.
        return {name: x.numpy() for name, x in serve(**given).items() if loaded}

    return run


def savedmodel_runtime() -> str:
    """What the folder was checked with."""
    import tensorflow as tf

    return f"tensorflow {tf.__version__}"
