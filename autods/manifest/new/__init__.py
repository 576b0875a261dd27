"""Manifests written from a folder of images, a table, or the Hugging Face Hub."""
