from nuclio_sdk import CloudEvent as CloudEvent
