"""The residual network, its passes and its per-sample gradients."""
