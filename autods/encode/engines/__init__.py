"""Where shards are made: this machine's devices, or a Ray cluster."""
