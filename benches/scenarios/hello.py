"""The least a function can do: answer five bytes."""


def handler(context, event):
    return "hello"
