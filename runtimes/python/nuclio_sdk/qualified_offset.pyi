from nuclio_sdk import QualifiedOffset as QualifiedOffset
