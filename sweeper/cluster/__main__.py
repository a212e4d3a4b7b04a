"""`python -m sweeper.cluster local|services|status|wait|down`: a cluster for a person at a shell.

Exit codes: 0 done or all up, 1 an error or something down, 2 a mistake in the command.
"""

import argparse
import getpass
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from sweeper.cluster import services
from sweeper.cluster.down import stop_ray
from sweeper.cluster.head import DATABASE_PORT, PROMETHEUS_PORT, RAY_FOLDER, Services
from sweeper.cluster.local import Lab, as_text
from sweeper.site import Site

_PROGRAM = "python -m sweeper.cluster"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = _parser().parse_args(given)
    try:
        match options.command:
            case "local":
                return _local(options, given)
            case "admit":
                return _admit()
            case "down":
                return _down()
            case "services":
                return _services(options)
            case "wait":
                return _wait(options)
            case _:
                return _status(options)
    except (OSError, ValueError, RuntimeError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1


def _local(options: argparse.Namespace, given: Sequence[str]) -> int:
    lab = Lab(
        head=options.head,
        workers=tuple(options.workers),
        user=options.user,
        key=options.key,
        storage=options.storage,
        data=options.data,
        services=options.services,
        cpus=options.cpus,
        head_works=options.head_works,
        environment=options.environment,
    )
    print(as_text(lab, f"uv run {_PROGRAM} {shlex.join(given)}"), end="")
    return 0


def _admit() -> int:
    from sweeper.cluster.admit import admit  # Ray's launcher, which only a head needs

    print("Ray knows the workers", *admit())
    return 0


def _wait(options: argparse.Namespace) -> int:
    from sweeper.cluster.joining import wait_for_machines  # Ray, which takes seconds

    wait_for_machines(options.machines, os.environ.get("RAY_ADDRESS", ""), seconds=options.seconds)
    return 0


def _down() -> int:
    left = stop_ray()
    services.stop(Services.from_environment())
    for sentence in left:
        print(sentence, file=sys.stderr)
    return 1 if left else 0


def _status(options: argparse.Namespace) -> int:
    from sweeper.cluster import status

    site = Site.from_environment()
    own = _named(options) if "SWEEPER_SERVICES" in os.environ else None
    found = status.parts(site, own)
    print(status.as_text(found, site, own))
    return 1 if any(each.state == "down" for each in found) else 0


def _named(options: argparse.Namespace) -> Services:
    return Services.from_environment(
        database_port=options.database_port, prometheus_port=options.prometheus_port, ray=options.ray_folder
    )


def _services(options: argparse.Namespace) -> int:
    own = _named(options)
    match options.action:
        case "start":
            services.start(own)
        case "stop":
            print("ended" if services.stop(own) else "nothing of them runs on this machine")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=_PROGRAM, description="A cluster for studies.")
    commands = parser.add_subparsers(required=True, dest="command", metavar="COMMAND")
    _add_ports(commands.add_parser("status", help="what is up, and where its web pages are"))
    _add_services(commands.add_parser("services", help="PostgreSQL, MLflow and Prometheus on this machine, the head"))
    waiting = commands.add_parser("wait", help="until so many machines have joined the Ray at RAY_ADDRESS")
    waiting.add_argument("machines", type=int)
    waiting.add_argument("--seconds", type=float, default=300, help="at most (default: %(default)s)")
    commands.add_parser("down", help="on a lab's head, before `ray down`: ends Ray on all machines, and the services")
    commands.add_parser("admit", help="what `ray up` runs on a lab's head, so that machines can be added")
    _add_local(commands.add_parser("local", help="prints the cluster of a lab's own machines, for `ray up`"))
    return parser


def _add_local(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--head", required=True, metavar="HOST", help="drives, and carries the services")
    parser.add_argument("--workers", nargs="*", default=(), metavar="HOST", help="train")
    parser.add_argument("--user", default=getpass.getuser(), help="who logs in by ssh; you, if not said")
    parser.add_argument("--key", metavar="FILE", help="private key for that")
    parser.add_argument("--storage", default=Lab.storage, metavar="FOLDER", help="shared by all (default: %(default)s)")
    parser.add_argument("--data", default=Lab.data, metavar="FOLDER", help="shared by all (default: %(default)s)")
    parser.add_argument("--services", metavar="FOLDER", help="the head's database (default: in the storage)")
    parser.add_argument("--cpus", type=int, help="that each worker offers (default: all)")
    parser.add_argument("--head-works", action="store_true", help="the head trains as well")
    parser.add_argument("--environment", metavar="FOLDER", help="a virtual environment that all machines have already")


def _add_services(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("start", "stop"))
    _add_ports(parser)


def _add_ports(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--database-port", type=int, default=DATABASE_PORT, help="on 127.0.0.1 (default: %(default)s)")
    parser.add_argument("--prometheus-port", type=int, default=PROMETHEUS_PORT, help="the same (default: %(default)s)")
    parser.add_argument("--ray-folder", type=Path, default=RAY_FOLDER, help="of `ray start` (default: %(default)s)")


if __name__ == "__main__":
    sys.exit(main())
