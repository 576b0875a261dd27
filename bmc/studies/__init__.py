"""Many runs: compare, sweep, tune and reproduce."""
