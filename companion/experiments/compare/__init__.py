"""The theorems of the four papers side by side, on the same data."""
