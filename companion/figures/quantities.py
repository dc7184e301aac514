"""What the axes of several figures show: a name for tables, and a label for the axis."""

WIDTH = "width m"
STEP = ("step", "step k")
FLIPS = ("share of activations that differ from initialisation", "share of changed activations")
# In the papers' flows, lambda_0 is the least eigenvalue of the limit Gram matrix.
TIME = ("time in units of 1/lambda_0", r"time $\lambda_0t$")
MISFIT_IN_TIME = (
    "squared residual over its start",
    r"$\|u(t)-y\|^2\,/\,\|u(0)-y\|^2$",
)
MISFIT_PER_STEP = (
    "squared residual over its start",
    r"$\|u(k)-y\|^2\,/\,\|u(0)-y\|^2$",
)
