from nuclio_sdk import Context as Context
from nuclio_sdk import Logger as Logger
from nuclio_sdk import Platform as Platform
from nuclio_sdk import Reject as Reject
from nuclio_sdk import Response as Response
from nuclio_sdk import Retry as Retry
from nuclio_sdk import TriggerInfo as TriggerInfo
