"""python -m stepway_intake"""

from stepway_chassis.app import run
from stepway_intake.app import APP

run(APP)
