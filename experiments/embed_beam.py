"""The command `embed_beam`: mla_jax/commands/embed_beam.py says what it does."""

from mla_jax.commands.launch import launch

if __name__ == "__main__":
    launch("embed_beam")
