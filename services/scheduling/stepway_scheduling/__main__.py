"""python -m stepway_scheduling"""

from stepway_chassis.app import run
from stepway_scheduling.app import APP

run(APP)
