"""Says which instructions of the processor torch uses."""

import json

import torch

if __name__ == "__main__":
    print(json.dumps({"torch": torch.backends.cpu.get_cpu_capability()}))
