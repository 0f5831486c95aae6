"""The command `download_audioset`: mla_jax/commands/download_audioset.py says what it does."""

from mla_jax.commands.launch import launch

if __name__ == "__main__":
    launch("download_audioset")
