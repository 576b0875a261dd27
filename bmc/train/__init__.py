"""The training loop over stacked copies, with memory, losses, data, seeds and costs."""
