"""Zou, Cao, Zhou and Gu (2020): deep networks, sharper widths, MNIST and CIFAR-10."""
