"""The command `clip_map`: mla_jax/commands/clip_map.py says what it does."""

from mla_jax.commands.launch import launch

if __name__ == "__main__":
    launch("clip_map")
