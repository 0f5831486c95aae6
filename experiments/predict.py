"""The command `predict`: mla_jax/commands/predict.py says what it does."""

from mla_jax.commands.launch import launch

if __name__ == "__main__":
    launch("predict")
