"""Recordings as clips."""
