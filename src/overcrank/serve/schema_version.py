"""Which tables a database has, and the way from older ones to ours.

A change of `tables` comes with a file in `migrations/versions`; a test compares the two.
"""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine

from overcrank.errors import RequestError


def bring_up_to_date(engine: Engine) -> None:
    """Make or change the tables; refuses a database that a newer overcrank has changed."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    known = {each.revision for each in ScriptDirectory.from_config(config).walk_revisions()}
    with engine.execution_options(writing=True).begin() as connection:
        found = MigrationContext.configure(connection).get_current_revision()
        if found is not None and found not in known:
            raise RequestError(
                f"the database was changed by a newer overcrank, got version {found} of its "
                f"tables: right is at most {max(known)}; update overcrank, or give another "
                "--folder or --database"
            )
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
