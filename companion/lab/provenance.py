"""What stands behind a result: the commit of this code, versions, machine, date."""

import datetime
import importlib
import json
import os
import platform
import subprocess
from importlib.metadata import distribution, version

from companion import __version__
from companion.base.paths import BOOK, PROJECT, brief

# Set by `git archive`, which is how forges make their archives; see .gitattributes.
ARCHIVED = PROJECT / ".git_archival.txt"
# Seconds of a run after which the machine's best product is measured, too.
_LONG = 10.0
# The counts of `companion.lab.fresh`.
COUNTS = BOOK / "fresh.json"


def provenance(data: str, seconds: float, device: str) -> dict[str, str | float | int]:
    """Commit, versions, machine, threads, product, data, date and seconds of a run just made."""
    return {
        "commit": commit(),
        "companion": __version__,
        "torch": version("torch"),
        "numpy": version("numpy"),
        "python": platform.python_version(),
        "machine": _machine(device),
        "threads": importlib.import_module("torch").get_num_threads(),
        "product": importlib.import_module("companion.matmul").chosen_product(device),
        "data": data,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "seconds": round(seconds, 1),
    }


def work(flops: float, seconds: float, device: str, dtype: str) -> dict[str, float]:
    """How much a run just made has computed, and how fast beside the machine's best product.

    Args:
        flops: floating-point operations, as estimated before.
        seconds: that it took.
        device: `cpu` or `cuda`.
        dtype: of the run.

    Returns:
        `flop`; and of a run so long that a fiftieth of its time is enough to measure the best
        product, `share`: its operations per second over the product's.
    """
    known = {"flop": float(flops)}
    if seconds < _LONG:
        return known
    best = importlib.import_module("companion.lab.products").best_product(device, dtype)
    return {**known, "share": round(flops / seconds / best, 3)}


def _machine(device: str) -> str:
    """In words, with the name of the GPU where the numbers are from one."""
    words = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    if device != "cuda":
        return words
    return f"{words}, {importlib.import_module('torch').cuda.get_device_name()}"


def commit() -> str:
    """The commit of this code, with `+changes` where sources differ from it; or why it is unknown.

    Asked are, in turn, this checkout's git, the mark that `git archive` leaves, and what pip noted
    of an installation from a repository. Another repository around this project is not asked.
    """
    problem = "neither a git checkout nor an archive of one"
    if (PROJECT / ".git").exists():
        try:
            return _checked_out()
        except OSError:
            problem = "git cannot be run"
        except subprocess.CalledProcessError as error:
            problem = "git says: " + (error.stderr.strip().splitlines() or ["nothing"])[0]
        except ValueError:
            problem = "git takes this folder for a part of another repository"
    return _archived() or _installed() or f"unknown ({problem})"


def _checked_out() -> str:
    # The code of whoever owns the checkout is running already, so git may read it, too.
    # What a user has git ignore everywhere is code all the same.
    settings = (f"safe.directory={PROJECT}", "core.fsmonitor=false", "core.excludesFile=")
    trusted = [word for setting in settings for word in ("-c", setting)]
    # GIT_DIR and its like would lead git to another repository.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", *trusted, *words],
            cwd=PROJECT,
            env={**environment, "LC_ALL": "C"},
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=True,
        ).stdout.rstrip("\n")

    if os.path.realpath(git("rev-parse", "--show-toplevel")) != os.path.realpath(PROJECT):
        raise ValueError
    revision = git("rev-parse", "--short=12", "HEAD")
    status = git("status", "--porcelain", "-z", "--untracked-files=all")
    return revision + ("+changes" if _is_changed(status) else "")


def _is_changed(status: str) -> bool:
    """Whether a file of the commit differs, or one lies beside the sources that it does not have.

    Files of the user's elsewhere, such as results written with `--json`, change no number, nor do
    the counts on fresh seeds, which are written while experiments run.
    """
    sources = tuple(f"?? {path.relative_to(PROJECT)}/" for path in (PROJECT / "companion", BOOK))
    entries = [entry for entry in status.split("\0") if entry and entry[3:] != brief(COUNTS)]
    return any(not entry.startswith("??") or entry.startswith(sources) for entry in entries)


def _archived() -> str | None:
    if not ARCHIVED.is_file():
        return None
    revision = ARCHIVED.read_text(encoding="utf-8").removeprefix("node: ").strip()
    return None if revision.startswith("$") else f"{revision[:12]} (source archive)"


def _installed() -> str | None:
    """What pip wrote, by PEP 610, of a package that it installed from a repository."""
    noted = json.loads(distribution("companion").read_text("direct_url.json") or "{}")
    revision = noted.get("vcs_info", {}).get("commit_id")
    return None if revision is None else f"{revision[:12]} (installed)"
