"""An estimator of scikit-learn over a stream, by ``partial_fit``."""

from sklearn.linear_model import SGDClassifier

import autods
from autods.interop.scikit import learn_stream

for scenario in ("class-il", "task-il"):
    stream = autods.synthetic_stream(tasks=5, classes=700, dim=64, scenario=scenario)
    estimator = SGDClassifier(loss="log_loss", alpha=1e-5, random_state=0)
    R = learn_stream(estimator, stream, batch_size=64, epochs=5, seed=0)
    print(f"{scenario}: accuracy on each task after each task, in per cent")
    for learned, row in enumerate(R, 1):
        print(*(f"{100 * accuracy:4.0f}" for accuracy in row[:learned]))
    print(f"final mean {R[-1].mean():.0%}")
