"""The worker process of a search: runs the trials it reads, until nobody asks."""

import os
import pickle
import queue
import sys
import threading
import traceback
from typing import BinaryIO

import cloudpickle

from keras_seq.tuning.trial import load_job


def main() -> None:
    """Reads pickles from the standard input and answers on the standard output.

    The first is the path of the job, answered once it is loaded; then a task at a
    time, answered by `(outcome, None)` or `(None, error)`.
    """
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a trial prints must not get among the answers
    requests: queue.SimpleQueue = queue.SimpleQueue()
    reader = threading.Thread(target=_read, args=(sys.stdin.buffer, requests))
    reader.daemon = True
    reader.start()
    job = load_job(requests.get())
    answer: tuple = ("ready", None)
    while True:
        cloudpickle.dump(answer, answers)
        answers.flush()
        task = requests.get()
        try:
            answer = (job.run(task), None)
        except Exception as error:
            error.add_note(f"In a worker process:\n{traceback.format_exc()}")
            answer = (None, _sendable(error))


def _read(requests: BinaryIO, into: queue.SimpleQueue) -> None:
    while True:
        try:
            into.put(pickle.load(requests))
        except EOFError:  # the search has ended, however it did
            os._exit(0)


def _sendable(error: Exception) -> Exception:
    try:
        pickle.loads(cloudpickle.dumps(error))
        return error
    except Exception:
        return RuntimeError("\n".join([repr(error), *error.__notes__]))


if __name__ == "__main__":
    main()
