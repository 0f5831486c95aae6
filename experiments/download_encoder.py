"""The command `download_encoder`: mla_jax/commands/download_encoder.py says what it does."""

from mla_jax.commands.launch import launch

if __name__ == "__main__":
    launch("download_encoder")
