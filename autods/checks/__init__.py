"""Checks of what lies on disk and of the machine: verify, audit, doctor, inventory."""
