"""The smallest run of an experiment, for tests of what keeps and judges runs."""

NAME = "du2019/linear_rate"
TINY = {"widths": (20, 40, 80), "count": 8, "dimension": 8, "seeds": 2, "steps": 5}
