"""Every request says which pictures its clip shows."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Older ones said nothing of them."""
    jobs = sa.table("jobs", sa.column("id", sa.String), sa.column("request", sa.JSON))
    connection = op.get_bind()
    for name, request in connection.execute(sa.select(jobs.c.id, jobs.c.request)).all():
        if "conditions" not in request:
            changed = {**request, "conditions": []}
            connection.execute(jobs.update().where(jobs.c.id == name).values(request=changed))
