"""A stream for Mammoth: put this file into its folder ``datasets/`` and run Mammoth there.

``python main.py --dataset autods --model er --buffer_size 500 --lr 0.03``
"""

import autods
from autods.interop.mammoth import stream_dataset

# or autods.open_stream("stream71", encoder=...)
stream = autods.synthetic_stream(tasks=5, classes=700, dim=64, order=7)
AutodsStream = stream_dataset(stream, name="autods", epochs=5)
