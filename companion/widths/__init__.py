"""How wide networks have to be so that training succeeds from half of all initialisations."""

from companion.widths.driver import minimal_width
from companion.widths.result import MinimalWidth

__all__ = ["MinimalWidth", "minimal_width"]
