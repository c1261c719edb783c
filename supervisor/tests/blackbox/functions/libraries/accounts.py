"""psycopg: money is moved in a transaction; a connection that was lost is made again."""

import os

import psycopg

MOVE = "update account set balance = balance + %s where name = %s"


def init_context(context):
    context.user_data.connection = psycopg.connect(os.environ["DATABASE"], autocommit=True)


def handler(context, event):
    if context.user_data.connection.closed:
        init_context(context)
    connection = context.user_data.connection
    amount = int(event.fields["amount"])
    try:
        with connection.transaction():
            connection.execute(MOVE, (amount, event.fields["to"]))
            connection.execute(MOVE, (-amount, event.fields["from"]))
    except psycopg.errors.CheckViolation:
        return 409, "not enough"
    return "moved"
