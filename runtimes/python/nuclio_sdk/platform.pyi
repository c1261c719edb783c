from nuclio_sdk import Platform as Platform
