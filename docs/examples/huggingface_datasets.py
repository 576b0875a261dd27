"""The tasks of a stream as datasets of Hugging Face."""

import autods
from autods.interop.huggingface import dataset_dict

stream = autods.synthetic_stream(tasks=3, classes=700, dim=64)

for index in range(len(stream.tasks)):
    parts = dataset_dict(stream, index)  # images=True adds the images, where they are indexed
    print({name: part.num_rows for name, part in parts.items()}, parts["train"].column_names)

train = parts["train"].with_format("torch")
label = parts["train"].features["label"]
print(f"{train['features'][:4].shape} {train['features'][:4].dtype}")
print(f"label {parts['train'][0]['label']} is '{label.int2str(parts['train'][0]['label'])}'")
