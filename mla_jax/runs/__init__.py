"""Training runs: a run's folder, its data, training it, and using what it has trained.

Everything here works on a run's folder (`RunFolder`): `train` begins a run there or goes on with it,
`train_row` trains one setting with several seeds, and `use.open_model` opens what was trained to predict
with: a checkpoint (`TrainedModel`), or the average of several as one model (`AveragedModel`). The steps
themselves are made in `mla_jax.training`, which knows no files. Nothing here tags, draws or reports.
"""
