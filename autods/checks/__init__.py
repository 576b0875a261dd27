"""Checks of the data root and of the machine: verify, audit, doctor, inventory."""
