"""audioset."""
