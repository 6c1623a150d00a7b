"""python -m stepway_notifications"""

from stepway_chassis.app import run
from stepway_notifications.app import APP

run(APP)
