"""The version of autods and bmc, which are released together; records of their work name it."""

__version__ = "0.1.0"
