"""onnxruntime: the same question to a model in a file."""

import numpy
import onnxruntime


def init_context(context):
    context.user_data.session = onnxruntime.InferenceSession("digits.onnx")


def handler(context, event):
    pixels = numpy.frombuffer(event.body_view, dtype="<f4").reshape(-1, 64)
    (scores,) = context.user_data.session.run(None, {"pixels": pixels})
    return {"digits": scores.argmax(axis=1).tolist()}
