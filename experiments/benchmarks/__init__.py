"""What `experiments.benchmark` measures, a file a subject; `rows` says how."""
