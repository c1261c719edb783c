# Does nothing and never waits.
async def handler(context, event):
    pass
