"""The command `demo`: mla_jax/commands/demo.py says what it does."""

from mla_jax.commands.launch import launch

if __name__ == "__main__":
    launch("demo")
