"""Records, packed data, the in-memory ClipSet, and which clips form a batch."""
