"""Modes in which torch's operations are watched: a second device without a GPU; peak memory."""

import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any
from unittest.mock import patch

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry


class OneDevice(TorchDispatchMode):
    """Refuses every operation on tensors of two devices, as a GPU would; copies are allowed.

    The other device is `meta`, which has shapes and no numbers, so that no GPU is needed.
    """

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        devices = {tensor.device.type for tensor in _tensors((args, kwargs)) if tensor.dim()}
        if len(devices) > 1 and "copy" not in func.__name__:
            raise RuntimeError(f"{func} mixes {devices}")
        return func(*args, **(kwargs or {}))


class PeakMemory(TorchDispatchMode):
    """Bytes of the tensors that are alive at a time, the most there were while it was entered.

    Modes are for one thread; this one follows the work that is handed to pools of threads.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._alive: dict[int, weakref.ref] = {}
        self._lock = threading.RLock()
        submit = ThreadPoolExecutor.submit
        self._following = patch.object(
            ThreadPoolExecutor,
            "submit",
            lambda pool, work, *tasks: submit(pool, _Follower(self).run, work, *tasks),
        )

    def __enter__(self):
        self._following.start()
        return super().__enter__()

    def __exit__(self, *error):
        self._following.stop()
        return super().__exit__(*error)

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        result = function(*arguments, **(keywords or {}))
        with self._lock:
            self.count(function, result, arguments, keywords or {})
        return result

    def count(self, function, result, arguments, keywords):
        for leaf in _tensors(result):
            storage = leaf.untyped_storage()
            key = storage._cdata
            if key in self._alive or key in _storages(arguments, keywords):
                continue
            size = storage.nbytes()
            self.now += size
            self.peak = max(self.peak, self.now)
            self._alive[key] = weakref.ref(storage, partial(self._free, key, size))

    def _free(self, key: int, size: int, gone: object) -> None:
        with self._lock:
            del self._alive[key]
            self.now -= size


class Work(PeakMemory):
    """Floating-point operations, too, by torch's own formulas of its matrix products.

    `FlopCounterMode` comes to the same number, and spends longer on every operation that it has no
    formula for.
    """

    def __init__(self) -> None:
        super().__init__()
        self.flops = 0

    def count(self, function, result, arguments, keywords):
        super().count(function, result, arguments, keywords)
        formula = flop_registry.get(function.overloadpacket)
        if formula is not None:
            self.flops += formula(*arguments, **keywords, out_val=result)


class _Follower(TorchDispatchMode):
    """The same count in another thread."""

    def __init__(self, mode: PeakMemory) -> None:
        super().__init__()
        self._mode = mode

    def run(self, work, *tasks):
        with self:
            return work(*tasks)

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        return self._mode.__torch_dispatch__(function, types, arguments, keywords)


class CountedCalls(TorchDispatchMode):
    """Counts the calls of one of torch's operations, e.g. `_linalg_eigh`."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.calls, self._name = 0, name

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        self.calls += function.overloadpacket.__name__ == self._name
        return function(*arguments, **(keywords or {}))


def _storages(*tree: Any) -> Iterator[int]:
    return (leaf.untyped_storage()._cdata for leaf in _tensors(tree))


def _tensors(tree: Any) -> Iterator[Tensor]:
    """The tensors of an operation's arguments or results; torch's own search takes far longer."""
    if isinstance(tree, Tensor):
        yield tree
    elif isinstance(tree, (list, tuple)):
        for branch in tree:
            yield from _tensors(branch)
    elif isinstance(tree, dict):
        yield from _tensors(tuple(tree.values()))
