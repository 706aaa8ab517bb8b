"""How good a clip looks, in one number."""

from torch import Tensor


def sharpness(frames_FHW3: Tensor) -> float:
    """Variance of the Laplacian of the grey frames, of 255: blurred ones have little.

    Counted in whole numbers, so that it is the same on every machine. It depends on the size:
    compare clips of about the same. Source: J. L. Pech-Pacheco et al., "Diatom autofocusing in
    brightfield microscopy", ICPR 2000, "LAP4".
    """
    grey_FHW = frames_FHW3.int().sum(-1)  # three times as bright
    middle_FHW = grey_FHW[:, 1:-1, 1:-1]
    across_FHW = grey_FHW[:, 1:-1, :-2] + grey_FHW[:, 1:-1, 2:]
    down_FHW = grey_FHW[:, :-2, 1:-1] + grey_FHW[:, 2:, 1:-1]
    edges_N = (across_FHW + down_FHW - 4 * middle_FHW).long().flatten()
    count = edges_N.numel()
    if count == 0:  # two pixels across
        return 0.0
    total, squares = int(edges_N.sum()), int(edges_N.square().sum())
    return round((squares - total * total / count) / count / 9, 2)
