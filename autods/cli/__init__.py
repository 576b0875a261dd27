"""The `autods` command, one file per group of commands."""
