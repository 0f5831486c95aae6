"""The commands: each turns flags into one library call, and prints what came of it.

What several of them need is beside them: `cli`, which runs them, with `arguments`, `common_flags`, `help` and
`console`; `distributed` with its `supervision`; `markdown`. `names` says which files are commands, and
`launch` starts one. Flags are read here and in `experiments` alone; the other rooms know none.
"""
