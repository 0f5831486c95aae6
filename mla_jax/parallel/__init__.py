"""Several devices, several processes, and signals.

`mesh` spreads arrays over devices, `processes` lets the processes of a run agree on what only one of them can
know, `signals` turns SIGTERM and SIGINT into a request to stop, `processor` is what the processor says of
itself. Takes and returns arrays and plain values; knows nothing of clips, models or runs.
"""
