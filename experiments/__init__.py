"""Command-line programs: each turns flags into one library call, and prints what came of it.

What only one of them needs is beside it: `table` (of table1), `supervision` (of distributed), `benchmarks`.
  Flags
are read here alone; the library knows none.
"""
