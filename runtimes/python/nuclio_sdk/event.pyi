from nuclio_sdk import Event as Event
from nuclio_sdk import EventDeserializerKinds as EventDeserializerKinds
from nuclio_sdk import TriggerInfo as TriggerInfo
