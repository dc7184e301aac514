"""What every other part stands on: arguments, files, machine."""
