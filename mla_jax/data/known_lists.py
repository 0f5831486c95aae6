"""Class lists of others that are easily mistaken for AudioSet's: told by checksums, since none is shipped.

The labels of AudioSet's records are indices of its 527 classes, and the records do not say so. YAMNet's class
map has the same header, 521 of these classes, and another order.
"""

import hashlib
from collections.abc import Sequence

from mla_jax.data.class_list import FILE_NAME, ClassList
from mla_jax.errors import UserError

# sha256 of the lines of all mids, or all names: in AudioSet's order, and sorted.
_IN_ORDER = {
    "fbd94e8a38594c56e778359b1bf3c59f4c669023df8780e7a234d87b93f6e463",
    "0b14c3a038e682627b9d4133084a7b63f805a7ab61896c5df8d3ec227af18c18",
}
_SORTED = {
    "5c6649e023b14c4a0bda2fe820c2794ad7bdb0dbd02d5151dc0c56339b042c53": "AudioSet's classes",
    "48a50a1311afa25b56623a38f3ae76ad2c97fb9817436707d3ee5ef34a4a132f": "AudioSet's classes",
    "edb03f89ae76fdd89c583029300cc8fac01ef647fb64ad818a46fe1e975dc26e": "YAMNet's classes",
    "46b4b57f955056f2121e8691c5e14c6343ad9b5d2c29ea7b74b7aa470f7072f4": "YAMNet's classes",
}


def require_audiosets_order(classes: ClassList, where: str, otherwise: str = "") -> None:
    """Checks that a list, if it is one of those known here, has AudioSet's classes in AudioSet's order.

    Args:
      classes: the list.
      where: the records, or the model, whose labels are indices of AudioSet's classes, for the message.
      otherwise: what to do if the list is right all the same, such as "num_classes=521 if ...".

    Raises:
      UserError: it has not, so that classes would get wrong names.
    """
    known = next(
        (
            _SORTED[total]
            for values in (classes.mids, classes.names)
            if (total := _checksum(sorted(values))) in _SORTED
            and _checksum(values) not in _IN_ORDER
        ),
        "",
    )
    if known:
        raise UserError(
            f"{where} goes by the order of AudioSet's 527 classes, but the class list has {known} in another "
            f"order ({len(classes)} of them), so they would get wrong names; give AudioSet's {FILE_NAME} "
            f"with class_list{otherwise and ', or '}{otherwise}"
        )


def _checksum(values: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(values).encode(errors="replace")).hexdigest()
