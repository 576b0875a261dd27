"""Learning across sites: each trains an expert where its data are and sends one file."""
