"""What the tables of intake stand in; each is with its noun."""

from sqlalchemy import MetaData

METADATA = MetaData()
