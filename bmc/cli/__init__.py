"""The `bmc-stream` command, one file per command."""
