# Does nothing, so that what is measured is the runtime.
def handler(context, event):
    pass
