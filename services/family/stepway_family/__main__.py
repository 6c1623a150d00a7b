"""python -m stepway_family"""

from stepway_chassis.app import run
from stepway_family.app import APP

run(APP)
