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


def test_a_thread_that_may_go_on_runs_its_body_again_and_passes_the_check() -> None:
    ended: list[str] = []
    gate = threading.Event()

    def body() -> None:
        if len(ended) < 3:
            raise ZeroDivisionError(f"fault {len(ended)}")
        gate.wait(30)

    def again(error: Exception) -> bool:
        ended.append(str(error))
        return True

    worker = Worker("w", body, again)
    worker.start()
    while len(ended) < 3:
        worker.check()
    assert ended == ["fault 0", "fault 1", "fault 2"]
    worker.check()
    gate.set()
    worker.join(30)
