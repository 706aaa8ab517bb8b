"""Jobs and live sessions."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Two tables."""
    when = sa.DateTime(timezone=True)
    op.create_table(
        "jobs",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("created_at", when, nullable=False),
        sa.Column("request", sa.JSON, nullable=False),
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("priority", sa.Integer, nullable=False),
        sa.Column("deadline", when),
        sa.Column("key", sa.String(320), unique=True),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("stage", sa.String(16), nullable=False),
        sa.Column("done", sa.Double, nullable=False),
        sa.Column("eta", sa.Double),
        sa.Column("cancel", sa.Boolean, nullable=False),
        sa.Column("worker", sa.String(128)),
        sa.Column("leased_until", when),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("started_at", when),
        sa.Column("ended_at", when),
        sa.Column("error", sa.JSON),
        sa.Column("report", sa.JSON),
    )
    op.create_index("jobs_in_turn", "jobs", ["status", "priority", "created_at"])
    op.create_table(
        "live",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("created_at", when, nullable=False),
        sa.Column("request", sa.JSON, nullable=False),
        sa.Column("prompt", sa.String, nullable=False),
        sa.Column("seed", sa.BigInteger, nullable=False),
        sa.Column("seen_at", when, nullable=False),
        sa.Column("pictures", sa.Integer, nullable=False),
        sa.Column("paused", sa.Boolean, nullable=False),
        sa.Column("credit", sa.Double, nullable=False),
        sa.Column("ended", sa.Boolean, nullable=False),
        sa.Column("error", sa.String),
        sa.Column("worker", sa.String(128)),
        sa.Column("leased_until", when),
        sa.Column("windows", sa.Integer, nullable=False),
        sa.Column("parts", sa.Integer, nullable=False),
        sa.Column("made", sa.Double, nullable=False),
    )


def downgrade() -> None:
    """As if nobody had ever asked."""
    op.drop_table("live")
    op.drop_table("jobs")
