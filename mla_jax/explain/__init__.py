"""What happens inside a model on its way to a clip's probabilities: segments, levels, example clips.

`maps` says where in a clip a model finds which class, `levels` how a model of several levels weighs them,
`examples` which clips show this best. Takes a `runs.trained.TrainedModel` and a `ClipSet`; returns plain
values in NumPy arrays. Draws nothing: pictures of these values are made in `report`.
"""
