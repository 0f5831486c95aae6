"""The command `demo_audio`: mla_jax/commands/demo_audio.py says what it does."""

from mla_jax.commands.launch import launch

if __name__ == "__main__":
    launch("demo_audio")
