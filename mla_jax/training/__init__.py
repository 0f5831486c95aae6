"""Losses, state, the compiled step, the loop around it, checkpoints."""
