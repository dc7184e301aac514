"""What machine this is, and what was found out about it once and for all."""

import functools
import json
import os
import platform
from pathlib import Path

from platformdirs import user_cache_dir

from companion.base.files import write_atomically
from companion.errors import InputError


def processor() -> str:
    """The processor's name where the system tells it, else its architecture."""
    if Path("/proc/cpuinfo").is_file():
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def machine_name() -> str:
    """This machine in words: its processor, and what oneDNN is allowed to use of it."""
    allowed = os.environ.get("ONEDNN_MAX_CPU_ISA")
    return processor() + (f", {allowed} at most" if allowed else "")


@functools.cache
def second_level_cache() -> int:
    """Bytes of the cache that a processor core has to itself, or 1 MiB if it cannot be told."""
    for cache in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        try:
            level, kind, size = (
                (cache / name).read_text(encoding="ascii").strip()
                for name in ("level", "type", "size")
            )
            if level == "2" and kind != "Instruction" and size.endswith("K"):
                return 2**10 * int(size[:-1])
        except (OSError, ValueError):
            continue
    return 2**20


class Answers:
    """Answers that hold for one machine, in a file of this user's cache.

    A damaged file counts as empty, and one that cannot be written is done without.

    Args:
        name: of the file, without its ending.
    """

    def __init__(self, name: str) -> None:
        self._path = Path(user_cache_dir("companion")) / f"{name}.json"

    def find(self, question: str) -> str | None:
        """The answer noted to a question, or None."""
        answer = self._read().get(question)
        return answer if isinstance(answer, str) else None

    def note(self, question: str, answer: str) -> None:
        """Keep an answer for all later processes."""
        answers = {**self._read(), question: answer}
        try:
            write_atomically(self._path, json.dumps(answers, indent=1).encode())
        except InputError:
            return

    def _read(self) -> dict[str, object]:
        try:
            answers = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return answers if isinstance(answers, dict) else {}
