"""Command-line programs: flags, then one library call."""
