"""A second device without a GPU."""

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class OneDevice(TorchDispatchMode):
    """Refuses every operation on tensors of two devices, as a GPU would; copies are allowed.

    The other device is `meta`, which has shapes and no numbers, so that no GPU is needed.
    """

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        devices = {tensor.device.type for tensor in tensors if tensor.dim()}
        if len(devices) > 1 and "copy" not in func.__name__:
            raise RuntimeError(f"{func} mixes {devices}")
        return func(*args, **(kwargs or {}))
