"""One file per kind of source that files are fetched from."""
