"""Servers on the loopback device that speak the real protocols and can misbehave."""
