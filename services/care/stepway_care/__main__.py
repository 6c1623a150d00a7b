"""python -m stepway_care"""

from stepway_care.app import APP
from stepway_chassis.app import run

run(APP)
