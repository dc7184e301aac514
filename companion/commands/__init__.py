"""Commands of the command line that have more to them than one call."""
