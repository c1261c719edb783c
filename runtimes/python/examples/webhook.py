"""Receives JSON webhooks that are signed with a shared secret.

    WEBHOOK_SECRET=s3cret nuclio run webhook.py
    body='{"action": "opened", "number": 7}'
    sign=$(printf %s "$body" | openssl dgst -sha256 -hmac s3cret -r | cut -d' ' -f1)
    curl -d "$body" -H 'Content-Type: application/json' \
         -H "X-Signature-256: sha256=$sign" http://127.0.0.1:8080

A body that was not signed with the secret gets 401 and is never parsed; one that is no JSON object
gets 400. The secret is read once, when the worker starts: without it there is no function.
"""

import hashlib
import hmac
import json
import os


def init_context(context):
    secret = os.environ.get("WEBHOOK_SECRET")
    if not secret:
        raise RuntimeError("WEBHOOK_SECRET is not set: signatures cannot be checked without it")
    context.user_data.secret = secret.encode()


def handler(context, event):
    # The bytes as they were sent: a signature is over those, not over what they mean.
    body = event.body_view
    expected = "sha256=" + hmac.new(context.user_data.secret, body, hashlib.sha256).hexdigest()
    signature = event.get_header("X-Signature-256") or ""
    # In constant time: how long the comparison takes says nothing about where it fails.
    if not hmac.compare_digest(signature.encode(), expected.encode()):
        context.logger.warn_with("forged or unsigned webhook", signed=bool(signature))
        return 401, "The signature does not match.\n"

    try:
        hook = json.loads(bytes(body))
    except (ValueError, RecursionError):  # the latter for a body of nothing but brackets
        return 400, "The body is not JSON.\n"
    if not isinstance(hook, dict):
        return 400, "The body is not a JSON object.\n"

    context.logger.info_with("webhook accepted", action=hook.get("action"))
    return {"accepted": True, "action": hook.get("action")}
