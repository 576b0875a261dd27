"""From images to features: encoder loading, image decoding, extraction runs.

Import from the modules: `autods.encode.encoders.open_clip` and `autods.encode.extract`. Nothing
is imported here, so that the command line starts without torch.
"""
