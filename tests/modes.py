"""Modes in which torch's operations are watched: a second device without a GPU; peak memory."""

import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from unittest.mock import patch

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


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
        self._alive: set[int] = set()
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
            self.count(result, arguments, keywords)
        return result

    def count(self, result, arguments, keywords):
        given = {leaf.untyped_storage()._cdata for leaf in _tensors((arguments, keywords))}
        for leaf in _tensors(result):
            storage, key = leaf.untyped_storage(), leaf.untyped_storage()._cdata
            if key not in self._alive | given:
                self._alive.add(key)
                self.now += storage.nbytes()
                self.peak = max(self.peak, self.now)
                weakref.finalize(storage, self._free, key, storage.nbytes())

    def _free(self, key: int, size: int) -> None:
        with self._lock:
            self._alive.discard(key)
            self.now -= size


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


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]
