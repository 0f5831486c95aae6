"""The command `compare`: mla_jax/commands/compare.py says what it does."""

from mla_jax.commands.launch import launch

if __name__ == "__main__":
    launch("compare")
