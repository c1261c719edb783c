"""numpy over the body where it lies: a matrix of float64 comes in, what it is made of goes out."""

import numpy


def handler(context, event):
    columns = int(event.fields["columns"])
    matrix = numpy.frombuffer(event.body_view, dtype="<f8").reshape(-1, columns)
    singular = numpy.linalg.svd(matrix - matrix.mean(axis=0), compute_uv=False)
    return {
        "rows": len(matrix),
        "mean": float(matrix.mean()),
        "explained": float((singular[:2] ** 2).sum() / (singular**2).sum()),
        "is_view": matrix.base is not None and not matrix.flags.writeable,
    }
