"""What happens inside a model on its way to a clip's probabilities: segments, levels, example clips.

`maps` says where in a clip a model finds which class, `levels` how a model of several levels weighs them,
`examples` which clips show this best. Takes a `runs.tagging_model.TaggingModel` and a `ClipSet`; returns
plain values in NumPy arrays. An average of models has no inside: of it there are scores alone. Draws nothing:
pictures of these values are made in `report`.
"""
