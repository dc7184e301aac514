"""Zou, Cao, Zhou and Gu (2018): deep networks, gradient descent and SGD, a family of losses."""
