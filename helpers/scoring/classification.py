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
    weights, right = inverse @ (targets - shares), []
    alike = np.split(
        (np.concatenate([*tested]) - centre) @ x.T, np.cumsum([len(some) for some in tested])[:-1]
    )
    for scene, (likeness, said) in enumerate(zip(alike, true, strict=True)):
        mine = own == scene
        others = weights - inverse[:, mine] @ np.linalg.solve(inverse[np.ix_(mine, mine)], weights[mine])
        scores = likeness @ others + shares
        right.append(np.array([names[k] for k in scores.argmax(1)], str) == np.array(said, str))
    return tuple(one.astype(float) for one in right)
