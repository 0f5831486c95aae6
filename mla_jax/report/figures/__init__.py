"""Pictures, drawn without a display: functions of arrays that return a Figure."""

import os

# What starts from a notebook inherits its backend's name, which another environment may not have: matplotlib
# would then not even be imported. Nothing here uses a backend but Agg's canvas.
_backend = os.environ.pop("MPLBACKEND", None)
try:
    import matplotlib  # noqa: F401
finally:
    if _backend is not None:
        os.environ["MPLBACKEND"] = _backend
