"""What an experiment is made of: settings, sweeps, results, verdicts, fingerprints, the store."""
