"""Sound files, front end and encoders."""
