"""Promises of speed beside their peers: `harness` measures what `ours` and `peers` compute."""
