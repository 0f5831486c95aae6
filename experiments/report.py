"""The command `report`: mla_jax/commands/report.py says what it does."""

from mla_jax.commands.launch import launch

if __name__ == "__main__":
    launch("report")
