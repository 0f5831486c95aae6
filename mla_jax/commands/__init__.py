"""The commands: each turns flags into one library call, and prints what came of it.

What several of them need is beside them: `cli`, `distributed` with its `supervision`, `markdown`. Flags are
read here and in `experiments` alone; the other rooms know none.
"""
