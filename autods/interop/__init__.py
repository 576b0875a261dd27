"""Streams for other libraries: one file each, imported only when it is asked for.

=====================  =================================================================
`arrays`               NumPy: all samples of a split with labels and task numbers
`torch_data`           map-style datasets and loaders of ``torch.utils.data``
`avalanche`            an Avalanche benchmark
`continuum`            a Continuum scenario
`huggingface`          ``DatasetDict`` per task
`scikit`               batches for ``partial_fit``, and the accuracy matrix R
`mammoth`              a dataset class that Mammoth registers
=====================  =================================================================

Tasks, their order, splits and label numbers are those of the stream in all of them: nothing is
shuffled, split or numbered anew.
"""
