"""The command `import_keras`: mla_jax/commands/import_keras.py says what it does."""

from mla_jax.commands.launch import launch

if __name__ == "__main__":
    launch("import_keras")
