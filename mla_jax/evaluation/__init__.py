"""Metrics, compiled inference, and how results are written."""
