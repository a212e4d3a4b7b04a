"""MLflow's database on the head: PostgreSQL found, a database and its password made, and asked whether it is there.

It is run by `services`.
"""

import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sweeper.cluster.head import DATABASE_USER, Services

SYSTEM_USER = "postgres"
"""Who runs PostgreSQL where everything else is root's: it refuses to be root."""


def programs_of(services: Services) -> Path:
    """The folder of PostgreSQL's programs, of the version that made the database if there is one."""
    version = services.database / "PG_VERSION"
    made_by = version.read_text().strip() if version.exists() else None
    there = {path.parent.parent.name: path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/postgres")}
    if found := shutil.which("postgres"):
        own = Path(found).resolve().parent
        there.setdefault(
            subprocess.check_output([own / "postgres", "--version"], text=True).split()[2].split(".")[0], own
        )
    if made_by and made_by not in there:
        raise FileNotFoundError(
            f"{services.database} was made by PostgreSQL {made_by}, which is not installed here (there is: "
            f"{', '.join(there) or 'none'}): apt-get install postgresql-{made_by}"
        )
    if not there:
        raise FileNotFoundError("PostgreSQL is not installed on this machine: apt-get install postgresql")
    return there[made_by or max(there, key=float)]


def make(services: Services, programs: Path, say: Callable[[str], None]) -> None:
    """Makes the database and its password, unless they are there; a death between any two steps leaves neither."""
    if services.database.exists():
        return
    new = services.folder / "postgres.new"
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(mode=0o700)
    if user := system_user():
        services.folder.chmod(services.folder.stat().st_mode | 0o011)  # that user must come through
        os.chown(new, pwd.getpwnam(user).pw_uid, pwd.getpwnam(user).pw_gid)
        _refuse_unreachable(new, user)
    with _password(services) as file:
        command = [programs / "initdb", "--pgdata", new, "--username", DATABASE_USER, "--pwfile", file]
        command += ["--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C", "--data-checksums"]
        made = subprocess.run(command, user=user, cwd="/", capture_output=True, text=True, check=False)
    if made.returncode:
        raise RuntimeError(f"PostgreSQL could not make a database in {new}: {made.stderr.strip()}")
    new.rename(services.database)
    say(f"a new database for MLflow in {services.database}")


def accepts(services: Services, programs: Path) -> bool:
    """Whether it takes connections."""
    port = str(services.database_port)
    command = [programs / "pg_isready", "--quiet", "--host", "127.0.0.1", "--port", port]
    return subprocess.run(command, check=False).returncode == 0


def system_user() -> str | None:
    """Who PostgreSQL runs as, where not as the user who starts it."""
    return SYSTEM_USER if os.geteuid() == 0 else None


def _refuse_unreachable(folder: Path, user: str) -> None:
    if subprocess.run(["test", "-w", folder], user=user, cwd="/", check=False).returncode:
        raise PermissionError(
            f"you are root, so PostgreSQL runs as {user}, who cannot reach {folder}: let others pass through the "
            "folders above it (chmod o+x), or set SWEEPER_SERVICES to another folder"
        )


@contextmanager
def _password(services: Services) -> Iterator[str]:
    """A file with the new database's password, for who makes it; the same is kept in libpq's form."""
    password = secrets.token_urlsafe(32)
    services.passwords.unlink(missing_ok=True)
    descriptor = os.open(services.passwords, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "w") as kept:
        kept.write(f"127.0.0.1:*:*:{DATABASE_USER}:{password}\n")
    with tempfile.NamedTemporaryFile("w", prefix="sweeper-") as file:
        file.write(password)
        file.flush()
        if user := system_user():
            os.chown(file.name, pwd.getpwnam(user).pw_uid, -1)
        yield file.name
