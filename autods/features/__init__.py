"""Feature shards, feature sets and embedded class names."""
