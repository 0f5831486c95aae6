"""The command `export`: mla_jax/commands/export.py says what it does."""

from mla_jax.commands.launch import launch

if __name__ == "__main__":
    launch("export")
