"""Du, Zhai, Poczos and Singh (2019), Gradient descent provably optimizes over-parameterized nets."""
