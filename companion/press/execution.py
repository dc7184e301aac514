"""Execution of chapters by papermill: a process and a kernel each, some at a time, outside Sphinx.

This is the build's side; `companion.press.running` is the program of those processes.
"""

import json
import os
from collections.abc import Generator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from companion.errors import BuildError
from companion.lab.store import Store
from companion.press.chapters import Chapter, Executed, check_parameters
from companion.press.keeping import kept
from companion.press.supervision import FOREIGN, Supervisor

# What experiments and figures import, and what takes long to.
LIBRARIES = (
    *("torch", "torchdiffeq", "scipy.optimize", "scipy.stats", "xarray", "pydantic"),
    *("matplotlib.figure", "matplotlib.backends.backend_agg", "matplotlib.backends.backend_svg"),
)


@dataclass(frozen=True)
class Job:
    """What a chapter's process is told, as JSON.

    Attributes:
        name: of the chapter.
        path: of its source.
        parameters: given to papermill.
        folder: executed notebooks and logs are kept here.
        timeout: seconds one cell may take.
    """

    name: str
    path: str
    parameters: dict[str, object]
    folder: str
    timeout: int

    @classmethod
    def of(
        cls, chapter: Chapter, parameters: Mapping[str, object], folder: Path, timeout: int
    ) -> "Job":
        """The job of executing a chapter, in words that hold in any folder."""
        path, where = str(chapter.path.absolute()), str(folder.absolute())
        return cls(chapter.name, path, dict(parameters), where, timeout)

    def path_of(self, ending: str) -> Path:
        """A file of this chapter in the folder of executed ones."""
        return Path(self.folder) / f"{self.name}{ending}"


@dataclass(frozen=True)
class Ended:
    """What is told of a chapter's process when it has ended, as JSON.

    Attributes:
        name: of the chapter.
        code: the exit code.
        told: how it failed, in one line, if it could say so.
        seconds: how long it ran.
    """

    name: str
    code: int
    told: str
    seconds: float

    def check(self, log: Path) -> None:
        """Forget the log of a chapter that was executed.

        Raises:
            BuildError: it was not.
        """
        if self.code != 0:
            reason = self.told or f"failed: its process ended with exit code {self.code}"
            raise BuildError(f"{self.name} {reason} (log: {log})")
        log.unlink(missing_ok=True)


def execute(
    chapters: Sequence[Chapter],
    parameters: Mapping[str, object],
    folder: Path,
    *,
    jobs: int,
    timeout: int,
) -> Generator[Executed, None, None]:
    """Run the chapters whose key changed, `jobs` at a time; yield each as it is done.

    When one fails, or the iteration is left, those that still run are ended at once. What they
    have computed stays in the store, and they go on from there the next time.

    Args:
        chapters: in the order of the book.
        parameters: given to every chapter.
        folder: executed notebooks and logs are kept here.
        jobs: processes; the machine's threads are divided among them.
        timeout: seconds one cell may take.

    Raises:
        InputError: bad parameters, before anything runs.
        BuildError: a chapter raised, its kernel died, a cell took too long or was left unrun; the
            message names chapter and cell, and the log is kept.
    """
    for chapter in chapters:
        check_parameters(chapter, parameters)
    waiting = []
    for chapter in chapters:
        notebook = kept(chapter, chapter.key(parameters), folder)
        if notebook is None:
            waiting.append(chapter)
        else:
            yield Executed(chapter, notebook, 0.0)
    if not waiting:
        return
    threads = max(1, (os.cpu_count() or 1) // min(jobs, len(waiting)))
    given = {chapter.name: Job.of(chapter, parameters, folder, timeout) for chapter in waiting}
    order = {
        "jobs": [asdict(job) for job in given.values()],
        "at_once": jobs,
        "libraries": LIBRARIES if any(chapter.experiments for chapter in waiting) else (),
    }
    named, log = {chapter.name: chapter for chapter in waiting}, folder / "chapters.log"
    words = ["-m", "companion.press.running", json.dumps(order)]
    variables = environment(folder, threads)
    with Supervisor() as supervisor:
        for line in supervisor.lines(words, log, variables):
            ended = Ended(**json.loads(line))
            chapter = named[ended.name]
            ended.check(given[ended.name].path_of(".log"))
            notebook = kept(chapter, chapter.key(parameters), folder)
            if notebook is None:
                raise BuildError(
                    f"{chapter.name} ran, but its sources changed meanwhile; build again."
                )
            yield Executed(chapter, notebook, ended.seconds)


def environment(folder: Path, threads: int) -> dict[str, str]:
    """Variables of a chapter's process: nothing of the user's Jupyter, IPython or matplotlib.

    A kernel runs in the chapter's folder, so what is relative to this process's is made absolute.

    Args:
        folder: IPython keeps its own below it.
        threads: of numerical libraries.
    """
    variables = {name: value for name, value in os.environ.items() if name not in FOREIGN}
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        variables[name] = str(threads)
    for name in ("COMPANION_DATA", "PYTHONPATH"):
        if variables.get(name):
            entries = variables[name].split(os.pathsep)
            variables[name] = os.pathsep.join(os.path.abspath(entry) for entry in entries)
    return {
        **variables,
        "COMPANION_STORE": str(Store().root),
        "JUPYTER_NO_CONFIG": "1",
        "IPYTHONDIR": str(folder.absolute() / "ipython"),
        # A kernel would set it, but finds matplotlib imported.
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    }
