"""Right-hand sides of the papers, one file per paper and one function per numbered statement."""
