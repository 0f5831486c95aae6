"""The command `predict_beam`: mla_jax/commands/predict_beam.py says what it does."""

from mla_jax.commands.launch import launch

if __name__ == "__main__":
    launch("predict_beam")
