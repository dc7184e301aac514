"""Many networks trained together on the same data, each as it would be alone."""

from companion.fleets.driver import train_fleet
from companion.fleets.memory import fleet_memory
from companion.fleets.rotation import span

__all__ = ["fleet_memory", "span", "train_fleet"]
