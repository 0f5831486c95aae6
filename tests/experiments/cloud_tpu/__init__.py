"""What takes the place of Google Cloud in the tests of `experiments/cloud_tpu`; sandbox.py says how."""
