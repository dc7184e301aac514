"""Execution: failures are named, nothing outlives its parent, a user's set-up stays outside."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from companion.errors import BuildError
from companion.press.execution import environment, execute
from companion.press.supervision import Supervisor
from tests.small_chapters import chapter, run

pytestmark = pytest.mark.slow
# Far longer than any test waits; what sleeps so long is ended by somebody, or the test fails.
LONG = "import time; time.sleep(600)"
WAIT = 60.0

FAILURES = {
    "raises": ("1 / 0", 60, r"code cell 2 \('1 / 0'\): ZeroDivisionError: division by zero"),
    "dies": ("import os; os._exit(3)", 60, r"code cell 2 .*Kernel died"),
    "hangs": ("import time; time.sleep(60)", 3, r"code cell 2 .*CellTimeoutError"),
    "leaves a cell unrun": ("import sys; sys.exit(0)", 60, r"code cell 2 .*left unrun"),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_a_failure_names_chapter_and_cell_and_keeps_the_log(tmp_path: Path, failure: str) -> None:
    code, timeout, sentence = FAILURES[failure]
    made = chapter(tmp_path, code, "print('after')")
    with pytest.raises(BuildError, match="chapter failed in " + sentence) as caught:
        run(made, folder=tmp_path / "out", timeout=timeout)
    log = Path(str(caught.value).rsplit("(log: ", 1)[1].rstrip(")"))
    assert log.is_file()
    assert not (tmp_path / "out" / "chapter.ipynb").exists()


def test_a_process_that_is_killed_is_told(tmp_path: Path) -> None:
    """As by a system that has run out of memory."""
    kill = "import os, signal; os.kill(os.getppid(), signal.SIGKILL)"
    with pytest.raises(BuildError, match=r"chapter failed: its process ended with exit code -9"):
        run(chapter(tmp_path, kill), folder=tmp_path / "out")


def test_the_process_that_forks_the_others_is_killed_with_all_of_them(tmp_path: Path) -> None:
    kill = (
        "import os, pathlib, psutil, signal\n"
        "chapter = psutil.Process().parent()\n"
        "pathlib.Path('pids').write_text(f'{os.getpid()} {chapter.pid}')\n"
        "os.kill(chapter.ppid(), signal.SIGKILL)"
    )
    with pytest.raises(BuildError, match=r"a process of this build ended with exit code -9"):
        run(chapter(tmp_path, kill, LONG), folder=tmp_path / "out")
    pids = [int(word) for word in (tmp_path / "pids").read_text().split()]
    assert len(pids) == 2
    assert until(lambda: not any(map(psutil.pid_exists, pids)))


def test_a_kernel_has_the_libraries_that_experiments_use_and_nothing_of_this_package(
    tmp_path: Path,
) -> None:
    """So what its chapter imports is what the files say at that time."""
    look = (
        "import sys\n"
        "ours = [name for name in sys.modules if name.split('.')[0] == 'companion']\n"
        "print('torch' in sys.modules, ours)"
    )
    plain = chapter(tmp_path, look, name="plain")
    (alone,) = run(plain, folder=tmp_path / "alone")
    assert alone.notebook.cells[-1].outputs[0].text == "False []\n"
    calls = "def later():\n    from companion.lab.reproduce import reproduce\n"
    uses = chapter(tmp_path, f"{calls}    reproduce('du2019/gradient')", look, name="uses")
    for executed in run(plain, uses, folder=tmp_path / "both"):
        assert executed.notebook.cells[-1].outputs[0].text == "True []\n"


def until(condition: Callable[[], bool]) -> bool:
    """Wait for something; False if it takes a minute, which none of it may."""
    end = time.monotonic() + WAIT
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    def runs(process: psutil.Process) -> bool:
        with contextlib.suppress(psutil.NoSuchProcess):
            return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
        return False

    return [process for process in processes if runs(process)]


def test_a_failure_ends_the_chapters_beside_it(tmp_path: Path) -> None:
    """Each leaves its kernel's number before it sleeps, and the third waits for them."""
    mark = "import os, pathlib; pathlib.Path(str(os.getpid()) + '.pid').touch()"
    wait = (
        "import glob, time\n"
        "while len(glob.glob('*.pid')) < 2: time.sleep(0.1)\n"
        "raise ValueError('no')"
    )
    made = [
        *(chapter(tmp_path, mark, LONG, name=name) for name in ("one", "two")),
        chapter(tmp_path, wait, name="three"),
    ]
    with pytest.raises(BuildError, match=r"three failed .* ValueError: no"):
        run(*made, folder=tmp_path / "out")
    kernels = [int(path.stem) for path in tmp_path.glob("*.pid")]
    assert len(kernels) == 2
    assert until(lambda: not any(map(psutil.pid_exists, kernels)))


def test_leaving_the_iteration_ends_the_chapters(tmp_path: Path) -> None:
    made = [chapter(tmp_path, "1", name="quick"), chapter(tmp_path, LONG, name="slow")]
    given = {"profile": "quick", "device": "cpu"}
    running = execute(made, given, tmp_path / "out", jobs=2, timeout=600)
    assert next(running).chapter.name == "quick"
    running.close()
    assert not alive(psutil.Process().children(recursive=True))
    assert (tmp_path / "out" / "quick.ipynb").is_file()


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_outlives_a_build_that_is_stopped(tmp_path: Path, sent: signal.Signals) -> None:
    """Two chapters run and one waits; however the command ends, kernels and all end with it."""
    names = ("one", "two", "three")
    for name in names:
        chapter(tmp_path / "book", "open(f'{count}.started', 'a').close()", LONG, name=name)
    (tmp_path / "_toc.yml").write_text(
        "format: jb-book\nroot: book/one\nchapters:\n- file: book/two\n- file: book/three\n"
    )
    (tmp_path / "_config.yml").write_text("title: A book\n")
    command = [sys.executable, "-m", "companion", "book", "--root", str(tmp_path), "--jobs", "2"]
    build = subprocess.Popen(
        [*command, "--output", str(tmp_path / "out")],
        stderr=subprocess.PIPE,
        text=True,
        # Tests that a script runs in the background would hand down that Ctrl-C is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    me = psutil.Process(build.pid)

    # What forks the chapters, and of each of two its process and its kernel.
    assert until(lambda: len(alive(me.children(recursive=True))) == 5)
    assert until(lambda: (tmp_path / "book" / "3.started").exists())
    family = me.children(recursive=True)
    build.send_signal(sent)
    told = build.communicate(timeout=WAIT)[1]
    assert until(lambda: not alive(family))
    if sent == signal.SIGINT:
        assert build.returncode == 130
        assert told == "companion: stopped; what was computed is kept.\n"
    else:
        assert build.returncode == -sent
    assert "Traceback" not in told


def test_a_child_that_does_not_listen_is_killed(tmp_path: Path) -> None:
    from threading import Thread

    with Supervisor() as supervisor:
        deaf = Thread(
            target=supervisor.run,
            args=(["-c", LONG], tmp_path / "log"),
        )
        deaf.start()
        assert until(lambda: bool(psutil.Process().children()))
    deaf.join(WAIT)
    assert not deaf.is_alive()
    with pytest.raises(InterruptedError):
        supervisor.run(["-c", "1"], tmp_path / "log")


def test_a_chapter_runs_in_this_interpreter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not in that of a kernel of the same name, nor with what a user's IPython starts with."""
    for name in ("python3", "companion"):
        spec = tmp_path / "theirs" / "kernels" / name / "kernel.json"
        spec.parent.mkdir(parents=True)
        spec.write_text(
            json.dumps({"argv": ["/bin/false"], "display_name": "x", "language": "python"})
        )
    startup = tmp_path / "ipython" / "profile_default" / "startup" / "00.py"
    startup.parent.mkdir(parents=True)
    startup.write_text("count = 99; leaked = True\n")
    (tmp_path / "start.py").write_text("count = 98; leaked = True\n")
    monkeypatch.setenv("PYTHONSTARTUP", str(tmp_path / "start.py"))
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "today")
    monkeypatch.setenv("MPLBACKEND", "none such")
    config = tmp_path / "config" / "jupyter_config.json"
    config.parent.mkdir()
    config.write_text('{"KernelManager": {"transport": "no such transport"}}')
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "theirs"))
    monkeypatch.setenv("JUPYTER_CONFIG_PATH", str(config.parent))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    code = "import sys; print(sys.executable, count, 'leaked' in globals())"
    (executed,) = run(chapter(tmp_path, code), folder=tmp_path / "out")
    assert executed.notebook.cells[-1].outputs[0].text == f"{sys.executable} 3 False\n"


def test_what_is_relative_here_is_the_same_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COMPANION_STORE", "store")
    monkeypatch.setenv("COMPANION_DATA", "data")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["one", str(tmp_path / "two")]))
    variables = environment(Path("out"), threads=1)
    assert variables["COMPANION_STORE"] == str(tmp_path / "store")
    assert variables["COMPANION_DATA"] == str(tmp_path / "data")
    assert variables["PYTHONPATH"] == f"{tmp_path / 'one'}{os.pathsep}{tmp_path / 'two'}"
    assert variables["IPYTHONDIR"].startswith(str(tmp_path / "out"))
    assert variables["OMP_NUM_THREADS"] == "1"
