"""Classification accuracy score: whether a classifier that has seen pictures alone names what photos show.
Pure.
"""

from collections.abc import Sequence

import numpy as np

MOST = 2000  # boxes that it is trained on, those of the first scenes: time grows with their third power
RIDGE = 0.1  # of the mean square of a patch


def named(
    patches: Sequence[np.ndarray],
    labels: Sequence[Sequence[str]],
    tested: Sequence[np.ndarray],
    true: Sequence[Sequence[str]],
) -> tuple[np.ndarray, ...]:
    """Whether each box of the photos is named rightly, as 0 and 1: n arrays (k,).

    patches, labels: per scene the pixels (k, d) inside the boxes of a picture, and what was asked for there;
    tested, true: those of the photos. The classifier is linear in the pixels: ridge regression of the labels,
    trained without the boxes of the scene that it is tested on, so that no picture can help by showing its
    own photo again. One inverse serves all scenes: with G = (K + ridge)^-1 and weights w = G Y, those without
    the rows B are w - G_B G_BB^-1 w_B. Ravuri and Vinyals 2019 (arXiv 1905.10887), with a smaller classifier.
    """
    names = sorted({label for some in labels for label in some})
    own = np.repeat(np.arange(len(labels)), [len(some) for some in labels])[:MOST]
    x = np.concatenate([*patches])[:MOST].astype(np.float64)
    targets = np.array([[label == name for name in names] for some in labels for label in some], float)[:MOST]
    centre, shares = x.mean(0), targets.mean(0)
    x -= centre
    kernel = x @ x.T
    inverse = np.linalg.inv(kernel + max(RIDGE * kernel.trace() / len(x), 1e-6) * np.eye(len(x)))
    weights = inverse @ (targets - shares)
    shown, ends = np.concatenate([*tested]) - centre, np.cumsum([len(some) for some in tested])
    scores = shown @ (x.T @ weights) + shares
    alike = shown[: ends[own[-1]]] @ x.T  # of the first scenes, which trained it; most of the work
    for scene in np.unique(own):
        mine, rows = own == scene, slice(ends[scene] - len(tested[scene]), ends[scene])
        scores[rows] -= alike[rows] @ (
            inverse[:, mine] @ np.linalg.solve(inverse[np.ix_(mine, mine)], weights[mine])
        )
    guesses = np.split(np.array(names)[scores.argmax(1)], ends[:-1])
    return tuple(
        (guess == np.array(said, str)).astype(float) for guess, said in zip(guesses, true, strict=True)
    )
