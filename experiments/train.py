"""The command `train`: mla_jax/commands/train.py says what it does."""

from mla_jax.commands.launch import launch

if __name__ == "__main__":
    launch("train")
