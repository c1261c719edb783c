# Code that cannot be a function, for the conformance kit.
def handler(context, event
