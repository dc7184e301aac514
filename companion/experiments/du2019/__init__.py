"""Du, Zhai, Poczos and Singh (2019): two layers, quadratic loss, the Gram matrix."""
