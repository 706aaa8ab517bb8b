"""What a server is told when it starts."""

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Settings:
    """Of the server and its workers alike."""

    folder: Path
    """Clips, and the database if there is no other."""
    model: str = "pocket"
    dtype: str = "auto"
    database: str | None = None
    """An SQLAlchemy URL; by default SQLite in the folder."""
    workers: int = 1
    threads: int | None = None
    """Of each worker; by default torch's own choice divided among them."""
    together: int = 1
    """Clips that a worker makes at once; those of one size share passes of the transformer."""
    queue: int = 32
    """Jobs that may wait."""
    per_key: int = 8
    """Jobs of one API key that may wait or run."""
    hosts: tuple[str, ...] = ()
    """Names of the server besides those of this machine."""
    keys: Path | None = None
    """The file of API keys; None: nobody needs one."""
    keep: timedelta = timedelta(days=30)
    """How long what has ended is kept."""
    quota: int = 20 * 10**9
    """Bytes of clips: beyond them the oldest go."""
    keep_every: int = 4
    """Steps between two that a job can go on from."""

    @property
    def name(self) -> str:
        """What the model is called over HTTP."""
        return Path(self.model).name

    @property
    def url(self) -> str:
        """Where the jobs are."""
        return self.database or f"sqlite:///{self.folder.absolute() / 'jobs.sqlite'}"

    @property
    def clips(self) -> Path:
        """A folder for each job."""
        return self.folder / "clips"

    @property
    def live(self) -> Path:
        """A folder for each live session."""
        return self.folder / "live"
