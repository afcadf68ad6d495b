import threading

import pytest

from edge.core.types import EdgeError
from edge.core.worker import Worker, WorkerError


def test_a_running_thread_passes_the_check() -> None:
    gate = threading.Event()
    worker = Worker("w", lambda: bool(gate.wait(30)) or None)
    worker.start()
    worker.check()
    gate.set()
    worker.join(30)


def test_a_thread_that_raised_is_found_with_its_name_and_words() -> None:
    def fail() -> None:
        raise EdgeError("the disk is full")

    worker = Worker("w", fail)
    worker.start()
    worker.join(30)
    with pytest.raises(WorkerError, match=r"thread w died \(the disk is full\)"):
        worker.check()


def test_a_thread_that_just_returned_is_found_too() -> None:
    worker = Worker("w", lambda: None)
    worker.start()
    worker.join(30)
    with pytest.raises(WorkerError, match="thread w ended"):
        worker.check()
