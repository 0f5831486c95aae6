"""The tests; a package, since some library brings a package of this name too."""
