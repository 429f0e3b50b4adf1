"""Where trials run: here, in worker processes that may die, or where a caller says."""

import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from concurrent.futures import (
    BrokenExecutor,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
)
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Self

import cloudpickle
import psutil

from keras_seq.files import replace_file
from keras_seq.tuning.trial import Job, Outcome, Task, run_stored

_POLL = 0.1  # seconds between two looks at a trial's time and memory
_GROWTH = 500 * 2**20  # bytes that a worker may gain before another takes its place
_FREE = 0.9  # the part of the free memory that workers may take together
_SUBMISSIONS = 3  # of one task to a pool that breaks
_ATTEMPTS = 2  # at a task whose process dies, for no fault of its own perhaps


class InProcess:
    """Runs each trial at once, in this process."""

    slots = 1

    def __init__(self, job: Job):
        self._job = job

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: Any) -> None:
        pass

    def submit(self, task: Task) -> "Future[Outcome]":
        future: Future[Outcome] = Future()
        future.set_result(self._job.run(task))
        return future


class _JobFile:
    """The job in the search's folder: data go to disk once, not with every trial."""

    def __init__(self, job: Job, folder: Path):
        self.path = str(folder.absolute() / "job.pickle")
        with replace_file(self.path) as file:
            cloudpickle.dump(job, file)

    def remove(self) -> None:
        Path(self.path).unlink(missing_ok=True)


class Borrowed:
    """Runs trials in an executor of the caller, which stays open.

    Trials lost with a broken pool are submitted again. The standard library's pool of
    processes never works again once it broke, so another takes its place.

    Args:
        job: What all trials share.
        folder: For its file, which must be readable where trials run.
        executor: Like those of `concurrent.futures`.
    """

    def __init__(self, job: Job, folder: Path, executor: Executor):
        self._file = _JobFile(job, folder)
        self._executor = executor
        self._replacements: list[Executor] = []
        self._lock = threading.Lock()
        self.slots = getattr(executor, "_max_workers", None) or os.cpu_count() or 1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: Any) -> None:
        for executor in self._replacements:
            executor.shutdown(cancel_futures=True)
        self._file.remove()

    def submit(self, task: Task) -> "Future[Outcome]":
        result: Future[Outcome] = Future()
        self._submit(task, result, _SUBMISSIONS)
        return result

    def _submit(self, task: Task, result: "Future[Outcome]", left: int) -> None:
        started, executor = time.perf_counter(), self._executor

        def finish(inner: "Future[Outcome]") -> None:
            if inner.cancelled():
                result.set_exception(RuntimeError("The executor cancelled a trial."))
                return
            error = inner.exception()
            if error is None:
                result.set_result(inner.result())
            elif not isinstance(error, BrokenExecutor):
                result.set_exception(error)
            elif left > 1:
                self._replace(executor)
                self._submit(task, result, left - 1)
            else:
                message = f"WorkerDied: the pool broke {_SUBMISSIONS} times: {error}"
                seconds = round(time.perf_counter() - started, 3)
                result.set_result(Outcome(None, message, seconds))

        try:
            executor.submit(run_stored, self._file.path, task).add_done_callback(finish)
        except BrokenExecutor as error:  # it broke after the search last looked
            broken: Future[Outcome] = Future()
            broken.set_exception(error)
            finish(broken)
        except RuntimeError as error:  # it was shut down
            result.set_exception(error)

    def _replace(self, broken: Executor) -> None:
        with self._lock:
            if broken is self._executor and isinstance(broken, ProcessPoolExecutor):
                self._executor = ProcessPoolExecutor(self.slots, get_context("spawn"))
                self._replacements.append(self._executor)


class Workers:
    """Runs trials in processes that are used again, and replaced after a failure.

    A process that runs too long or takes too much memory costs its trial and nothing
    else. One that dies is replaced, and its trial goes on from its checkpoint; where
    it dies again the trial has failed. Each has its share of the cores and GPUs to
    itself.

    Args:
        job: What all trials share.
        folder: For its file.
        slots: Number of processes.
        trial_seconds: Limit of a trial, without the start of its process; None: none.
        trial_mb: Limit of a process's resident memory, in MB; None: its share of nine
            tenths of the memory that is free now.
    """

    def __init__(
        self,
        job: Job,
        folder: Path,
        slots: int,
        trial_seconds: float | None = None,
        trial_mb: float | None = None,
    ):
        self.slots = slots
        self._file = _JobFile(job, folder)
        if trial_mb is None:
            trial_mb = _FREE * _free_memory() / slots / 1e6
        self._workers = [
            _Worker(self._file.path, number, slots, trial_seconds, trial_mb)
            for number in range(slots)
        ]
        self._idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        for worker in self._workers:
            self._idle.put(worker)
        # One thread for each process, which waits for its answer.
        self._threads = ThreadPoolExecutor(slots)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: Any) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        for worker in self._workers:
            worker.close()
        self._threads.shutdown()
        self._file.remove()

    def submit(self, task: Task) -> "Future[Outcome]":
        return self._threads.submit(self._run, task)

    def _run(self, task: Task) -> Outcome:
        worker = self._idle.get()
        try:
            return worker.run(task)
        finally:
            self._idle.put(worker)


def open_executor(
    job: Job,
    folder: Path,
    executor: Any,
    resources: Mapping[str, float] | None,
    trial_seconds: float | None,
    trial_mb: float | None,
) -> Any:
    """What `tune` means by its `executor`: None, a number, "ray", or the caller's."""
    if executor is None:
        return InProcess(job)
    if executor == "ray":
        from keras_seq.tuning.ray_cluster import RayTrials

        return RayTrials(job, resources=resources, trial_seconds=trial_seconds)
    if hasattr(executor, "submit"):
        return Borrowed(job, folder, executor)
    return Workers(job, folder, int(executor), trial_seconds, trial_mb)


class _Worker:
    """A place for one process at a time, and its limits."""

    def __init__(
        self,
        job_file: str,
        number: int,
        slots: int,
        trial_seconds: float | None,
        trial_mb: float,
    ):
        self._job_file = job_file
        self._number, self._slots = number, slots
        self._trial_seconds, self._trial_mb = trial_seconds, trial_mb
        self._process: subprocess.Popen[bytes] | None = None
        self._memory_at_first = 0
        self._lock = threading.Lock()  # no process may start once it was closed
        self._closed = False

    def run(self, task: Task) -> Outcome:
        started = time.perf_counter()
        for _ in range(_ATTEMPTS):
            outcome, limit, death = self._try(task)
            if outcome is not None:
                return outcome
            if limit:
                break
        seconds = round(time.perf_counter() - started, 3)
        return Outcome(None, limit or f"WorkerDied: {death}", seconds)

    def _try(self, task: Task) -> tuple[Outcome | None, str, str]:
        """The outcome; else the limit that was broken, or how the process died."""
        process = self._process or self._start()
        ended = threading.Event()
        reason: list[str] = []  # why the watcher killed the process
        watcher = threading.Thread(target=self._watch, args=(process, ended, reason))
        watcher.start()
        try:
            self._send(process, task)
            answer = self._receive(process)
        finally:
            ended.set()
            watcher.join()
        if answer is None:
            self.stop()
            return None, "".join(reason), _describe_death(process.returncode)
        outcome, error = answer
        if error is not None:
            raise error
        self._replace_if_grown(process)
        return outcome, "", ""

    def close(self) -> None:
        """Kills the process, in the midst of a trial or not; none starts again."""
        with self._lock:
            self._closed = True
        self.stop()

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            with suppress(BrokenPipeError):
                process.__exit__(None, None, None)  # closes its pipes, and waits

    def _start(self) -> "subprocess.Popen[bytes]":
        cores = _share(_cores(), self._number, self._slots)
        with self._lock:
            if self._closed:
                raise RuntimeError("The search has ended.")
            process = subprocess.Popen(
                [sys.executable, "-m", "keras_seq.tuning.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=self._environment(len(cores)),
                start_new_session=True,  # Ctrl-C is for the search, which then ends it
            )
            self._process = process
        if self._slots > 1 and hasattr(psutil.Process, "cpu_affinity"):
            psutil.Process(process.pid).cpu_affinity(cores)
        self._memory_at_first = 0
        self._send(process, self._job_file)
        if self._receive(process) is None:
            self.stop()
            raise RuntimeError(
                "A worker process could not load the estimator and the data; what it "
                "printed says why. With executor=None trials run in this process. "
                f"{_describe_death(process.returncode)}."
            )
        return process

    def _environment(self, threads: int) -> dict[str, str]:
        environment = dict(os.environ)
        # A script must find here what it imports there. It is not run again itself.
        environment["PYTHONPATH"] = os.pathsep.join(p or os.getcwd() for p in sys.path)
        environment.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # errors are raised
        if "keras" in sys.modules:
            environment["KERAS_BACKEND"] = sys.modules["keras"].config.backend()
        if self._slots > 1:
            for name in ("TF_NUM_INTRAOP", "TF_NUM_INTEROP", "OMP_NUM", "OPENBLAS_NUM"):
                environment[f"{name}_THREADS"] = str(threads)
            gpus = _gpus()
            if gpus:
                own = _share(gpus, self._number, self._slots)
                environment["CUDA_VISIBLE_DEVICES"] = ",".join(own)
                # Several on one GPU: none may take all of its memory at once.
                environment["TF_FORCE_GPU_ALLOW_GROWTH"] = "true"
                environment["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
        return environment

    def _send(self, process: "subprocess.Popen[bytes]", message: Any) -> None:
        assert process.stdin is not None  # noqa: S101, for mypy
        try:
            cloudpickle.dump(message, process.stdin)
            process.stdin.flush()
        except BrokenPipeError:
            pass  # it has died, as what is received will tell

    def _receive(self, process: "subprocess.Popen[bytes]") -> Any:
        """The next answer; None if the process died."""
        assert process.stdout is not None  # noqa: S101, for mypy
        try:
            return pickle.load(process.stdout)
        except (EOFError, pickle.UnpicklingError):
            process.wait()
            return None

    def _watch(
        self,
        process: "subprocess.Popen[bytes]",
        ended: threading.Event,
        reason: list[str],
    ) -> None:
        started = time.perf_counter()
        while not ended.wait(_POLL):
            seconds = time.perf_counter() - started
            if self._trial_seconds is not None and seconds > self._trial_seconds:
                reason.append(f"TimeLimit: more than {self._trial_seconds:g} s")
            megabytes = _resident(process) / 1e6
            if megabytes > self._trial_mb:
                reason.append(f"MemoryLimit: more than {self._trial_mb:.0f} MB")
            if reason:
                process.kill()
                return

    def _replace_if_grown(self, process: "subprocess.Popen[bytes]") -> None:
        memory = _resident(process)
        if not self._memory_at_first:  # of the libraries, and of the first model
            self._memory_at_first = memory
        if memory - self._memory_at_first > _GROWTH:
            self.stop()


def _resident(process: "subprocess.Popen[bytes]") -> int:
    try:
        return psutil.Process(process.pid).memory_info().rss
    except psutil.Error:  # it has just ended
        return 0


def _free_memory(root: Path = Path("/sys/fs/cgroup")) -> float:
    """Bytes that are free here; in a container no more than its limit."""
    free = [float(psutil.virtual_memory().available)]
    # Version 2 of control groups, and 1. What they call used holds cached files too.
    for limit in ("memory.max", "memory/memory.limit_in_bytes"):
        with suppress(OSError, ValueError):  # no such file, or "max"
            free.append(float((root / limit).read_text()))
    return min(free)


def _describe_death(code: int) -> str:
    if code >= 0:
        return f"its process ended with exit code {code}"
    name = signal.Signals(-code).name
    hint = ", as Linux does where memory runs out" if name == "SIGKILL" else ""
    return f"its process was killed by {name}{hint}"


def _cores() -> list[Any]:
    if hasattr(psutil.Process, "cpu_affinity"):  # what a cluster gave to this job
        return psutil.Process().cpu_affinity()
    return list(range(os.cpu_count() or 1))


def _gpus() -> list[Any]:
    """CUDA devices that this process may use, without starting CUDA in it."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name for name in visible.split(",") if name not in ("", "-1")]
    return [str(i) for i, _ in enumerate(Path("/proc/driver/nvidia/gpus").glob("*"))]


def _share(things: list[Any], number: int, slots: int) -> list[Any]:
    """The part of worker `number`; where there are too few, some share one."""
    if len(things) < slots:
        return [things[number % len(things)]]
    return things[len(things) * number // slots : len(things) * (number + 1) // slots]
