"""The log file: everything of a finished run, nothing while tasks run."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import pytest

from executors import (
    CONTINUE_ON_FAILURE,
    Attempt,
    Graph,
    Observer,
    RunReport,
    Task,
    load_backend,
    run,
)
from executors.logs import log_to_file
from tests.available import AVAILABLE


def chatty(index: int) -> None:
    for line in range(5):
        logging.getLogger("mine").info("task %d line %d", index, line)


@pytest.mark.parametrize("name", AVAILABLE)
def test_every_record_of_a_finished_run_is_in_the_file(name: str, tmp_path: Path) -> None:
    path = tmp_path / "logs" / "run.log"
    graph = Graph(
        [*(Task(f"t{i}", lambda i=i: chatty(i)) for i in range(20)), Task("bad", lambda: 1 / 0)]
    )

    class Peek(Observer):
        """Looks at the file when the last task has ended, before the log is written."""

        seen = ""

        def task_ended(self, attempt: Attempt) -> None:
            self.seen += path.read_text()

    peek = Peek()
    with log_to_file(path) as log, load_backend(name, 2) as backend:
        run(graph, backend, policy=CONTINUE_ON_FAILURE, observers=[peek, log])
        text = path.read_text()
    for index in range(20):
        for line in range(5):
            assert text.count(f"mine: task {index} line {line}\n") == 1
    assert "run of 21 tasks on " + name in text
    assert "task 'bad' failed" in text
    assert "division by zero" in text
    assert peek.seen == "", "written while tasks ran"


def test_logging_is_as_before_afterwards(tmp_path: Path) -> None:
    root = logging.getLogger()
    before = root.level, list(root.handlers)
    with log_to_file(tmp_path / "run.log", logging.DEBUG):
        logging.getLogger("mine").debug("held")
    assert (root.level, root.handlers) == before
    assert "held" in (tmp_path / "run.log").read_text()


def test_each_attempt_is_logged_at_debug_only(tmp_path: Path) -> None:
    graph = Graph([Task("t", lambda: None)])
    for level, lines in ((logging.INFO, 0), (logging.DEBUG, 1)):
        path = tmp_path / f"{level}.log"
        with log_to_file(path, level) as log:
            run(graph, load_backend("sequential"), observers=[log])
        assert path.read_text().count("task 't' took") == lines


def test_several_processes_may_share_a_file(tmp_path: Path) -> None:
    script = (
        "import logging, sys, pathlib\n"
        "from executors.logs import log_to_file\n"
        "with log_to_file(pathlib.Path(sys.argv[1])):\n"
        "    for i in range(200): logging.getLogger('p').info('%s-%d;', sys.argv[2], i)\n"
    )
    path = tmp_path / "shared.log"
    writers = [subprocess.Popen([sys.executable, "-c", script, str(path), name]) for name in "abc"]
    assert [writer.wait(timeout=60) for writer in writers] == [0, 0, 0]
    text = path.read_text()
    assert all(f"{name}-{index};\n" in text for name in "abc" for index in range(200))
    assert len(text.splitlines()) == 600


def test_a_file_that_cannot_be_written_is_an_error_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"), log_to_file(tmp_path / "file" / "run.log"):
        raise AssertionError("entered")


def test_a_run_that_logs_ends_with_its_report(tmp_path: Path) -> None:
    with log_to_file(tmp_path / "run.log") as log:
        report = run(Graph([Task("t", lambda: 1)]), load_backend("sequential"), observers=[log])
    assert isinstance(report, RunReport)
    assert "stopped early" not in (tmp_path / "run.log").read_text()
