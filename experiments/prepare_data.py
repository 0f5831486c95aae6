"""The command `prepare_data`: mla_jax/commands/prepare_data.py says what it does."""

from mla_jax.commands.launch import launch

if __name__ == "__main__":
    launch("prepare_data")
