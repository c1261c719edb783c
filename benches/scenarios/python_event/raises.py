# Fails in a function below the handler, as real code does.
def check(order):
    raise ValueError(f"no such order: {order}")


def handler(context, event):
    check(7)
