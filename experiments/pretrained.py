"""The command `pretrained`: mla_jax/commands/pretrained.py says what it does."""

from mla_jax.commands.launch import launch

if __name__ == "__main__":
    launch("pretrained")
