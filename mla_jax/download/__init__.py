"""Getting AudioSet's release: its files over HTTP, checked, unpacked and counted."""
