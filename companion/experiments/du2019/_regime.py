"""How far a run is from the width that a theorem asks for."""

from companion.lab.results import Result


def unmet_width(result: Result) -> str:
    """The explicit width and the largest that was run, as the end of a verdict's sentence."""
    values = result.values
    return (
        f"the explicit width is {values['needed_width']:.1g}, at most {values['largest_width']} "
        "was run"
    )
