"""Code that knows no dataset: files, data root, registry, progress, console, processes."""
