"""What can be recorded while a network trains. Each monitor takes a `Moment` and returns numbers.

Numbers stay where they are computed until the run is over, so that nothing waits for the device.
`Distances` waits once a record, for all layers together; `separations` and what takes eigenvalues
of a Gram matrix wait more often, and cost more than a step.
"""

from companion.monitors.log import Every, Log, Monitor, Record, as_numbers
from companion.monitors.moment import Moment, Watcher
from companion.monitors.quantities import (
    Distances,
    PatternDifference,
    certified_lambda_min,
    count_true,
    frobenius_distances,
    gradient_norms,
    gram_lambda_min,
    largest_loss,
    largest_slope,
    layer_gram_drifts,
    layer_lambda_mins,
    least_distance,
    mean_loss,
    misfit,
    separations,
    together,
    training_error,
    unit_distances,
)

__all__ = [
    "Distances",
    "Every",
    "Log",
    "Moment",
    "Monitor",
    "PatternDifference",
    "Record",
    "Watcher",
    "as_numbers",
    "certified_lambda_min",
    "count_true",
    "frobenius_distances",
    "gradient_norms",
    "gram_lambda_min",
    "largest_loss",
    "largest_slope",
    "layer_gram_drifts",
    "layer_lambda_mins",
    "least_distance",
    "mean_loss",
    "misfit",
    "separations",
    "together",
    "training_error",
    "unit_distances",
]
