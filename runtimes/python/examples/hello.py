"""The smallest function: a greeting.

    nuclio run hello.py
    curl 'http://127.0.0.1:8080?name=Ada'

Text is sent as text/plain with status 200; `event.fields` is the query.
"""


def handler(context, event):
    return f"Hello, {event.fields.get('name', 'world')}!\n"
