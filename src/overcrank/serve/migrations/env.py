"""Alembic runs this, with the connection that `overcrank.serve.schema_version` opened."""

from alembic import context

from overcrank.serve.tables import Table

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Table.metadata,
    render_as_batch=True,  # SQLite changes a table by making it anew
)
with context.begin_transaction():
    context.run_migrations()
