"""The command `embed`: mla_jax/commands/embed.py says what it does."""

from mla_jax.commands.launch import launch

if __name__ == "__main__":
    launch("embed")
