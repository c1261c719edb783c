# One record with a field for each event.
def handler(context, event):
    context.logger.info_with("handled", size=1)
