"""A function where the kit wants code that cannot be one."""


def handler(context, event):
    return event.body
