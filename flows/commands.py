"""The commands that look after servers, registry and state; those that run a flow are in __main__.py."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from contextlib import nullcontext


def release(_arguments: Sequence[str]) -> None:
    """Handles pending promotion requests now; the watcher of `up` does it within seconds."""
    from flows.config import parameters
    from flows.registry.ledger_lines import describe
    from flows.registry.promotion import reconcile

    params = parameters.load()
    entries = reconcile(params.register_.model, person_decides=params.gate.person_decides)
    print("\n".join(map(describe, entries)) or "nothing to release: there is no pending request")


def rollback(_arguments: Sequence[str]) -> None:
    """Makes the previous live version live again."""
    from flows.config import parameters
    from flows.registry.ledger_lines import describe
    from flows.registry.promotion import roll_back

    print(describe(roll_back(parameters.load().register_.model)))


def approve(arguments: Sequence[str]) -> None:
    """Records your decision that a version goes live whatever its verdict is, or that a ledger goes on."""
    import argparse

    parser = argparse.ArgumentParser(prog="make approve ARGS=...", description=approve.__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--version", help="number of the version to release")
    what.add_argument("--ledger", action="store_true", help="go on with a ledger that was lost, cut or replaced")
    parser.add_argument("--live", help="with --ledger: number of the version that is live, or none")
    parser.add_argument("--why", required=True, help="your reason, for the record")
    options = parser.parse_args(arguments)
    if not options.why.strip():
        parser.error("--why is empty")
    from flows.config.parameters import load
    from flows.registry.approval import accept_ledger
    from flows.registry.approval import approve as approve_version
    from flows.registry.ledger_lines import describe

    params = load()
    model, person_decides = params.register_.model, params.gate.person_decides
    if options.ledger:
        print(describe(accept_ledger(model, options.live, options.why)))
    else:
        entries = approve_version(model, options.version, options.why, person_decides=person_decides)
        print("\n".join(map(describe, entries)))


def trust(arguments: Sequence[str]) -> None:
    """Shows the code of a version that is not run, or allows it on this machine."""
    import argparse

    parser = argparse.ArgumentParser(prog="make trust ARGS=...", description=trust.__doc__)
    parser.add_argument("version", help="alias or number of a version")
    parser.add_argument("--why", help="reason to allow its code, for the record; without it, the code is only shown")
    options = parser.parse_args(arguments)
    from flows.config.parameters import load
    from flows.registry.review import allow, show_code

    params = load()
    folder = params.paths.state / "review"
    if options.why:
        print(allow(params.register_.model, options.version, options.why, folder))
    else:
        print(show_code(params.register_.model, options.version, folder))


def prune(arguments: Sequence[str]) -> None:
    """Shows what params.yaml's retention does not keep, or removes it."""
    import argparse

    parser = argparse.ArgumentParser(prog="make prune ARGS=...", description=prune.__doc__)
    parser.add_argument("--yes", action="store_true", help="remove it")
    parser.add_argument("--shared", action="store_true", help="also from a DVC cache or remote outside of the project")
    options = parser.parse_args(arguments)
    from flows.config.parameters import load
    from flows.local.lock import flow_lock
    from flows.prune import carry_out, show

    params = load()
    with flow_lock(params.paths.state, "prune"):
        if options.yes:
            print("\n".join(carry_out(params, shared=options.shared)))
        else:
            print(f"{show(params)}\n\nnothing was removed; to do it: make prune ARGS=--yes")


def up(_arguments: Sequence[str]) -> None:
    """Starts the Prefect and MLflow servers, a worker and the watcher. Prints their addresses and what to do next."""
    from flows.config.parameters import load
    from flows.local import auth
    from flows.local.links import next_steps
    from flows.local.servers import PORTS, running
    from flows.local.servers import up as start
    from flows.local.state import open_state
    from flows.local.worker import SERVE, WATCHER, WORKER

    params, before = load(), running()
    open_state(params.paths.state)
    names = (*PORTS, WORKER, WATCHER, *([SERVE] if params.serve.with_up else []))
    missing = [name for name in names if name not in before]
    print(f"starting {', '.join(missing)} ..." if missing else "all servers are running already", flush=True)
    addresses = start(shared=params.up.shared, serve=params.serve.address if params.serve.with_up else None)
    for name, address in addresses.items():
        print(f"{name:<12}{address}")
    print(next_steps(addresses["mlflow"], params.register_.model, auth.read(), shared=params.up.shared))


def serve(arguments: Sequence[str]) -> None:
    """Answers HTTP requests with the live version, and follows it, until it is interrupted."""
    import argparse

    parser = argparse.ArgumentParser(prog="make serve ARGS=...", description=serve.__doc__)
    parser.add_argument("--host", help="address to listen at, instead of serve.host in params.yaml")
    parser.add_argument("--port", type=int, help="port, instead of serve.port; 0: any free one")
    parser.add_argument("--workers", type=int, help="processes that answer, instead of serve.workers")
    options = {name: value for name, value in vars(parser.parse_args(arguments)).items() if value is not None}
    from flows.config.parameters import load
    from flows.serve import serve as run

    run(load(), options)


def env(_arguments: Sequence[str]) -> None:
    """Prints the variables that your own prefect and mlflow commands need: eval "$(make -s env)"."""
    from flows.local.servers import client_variables

    for name, value in client_variables().items():
        print(f"export {name}={shlex.quote(value)}")


def down(arguments: Sequence[str]) -> None:
    """Stops what `up` started, after a running flow has ended."""
    import argparse

    parser = argparse.ArgumentParser(prog="make down ARGS=...", description=down.__doc__)
    parser.add_argument("--now", action="store_true", help="stop it now; the next run goes on from the last checkpoint")
    options = parser.parse_args(arguments)
    from flows.local.lock import idle
    from flows.local.servers import down as stop
    from flows.local.servers import running
    from tasks.core.paths import PathsParams

    remedy = "to stop it now: make down ARGS=--now; the next run goes on from its last checkpoint"
    wait = idle(PathsParams.load().paths.state, "down", lambda text: print(text, flush=True), remedy)
    with nullcontext() if options.now or not running() else wait:
        print(f"stopped: {', '.join(stop()) or 'nothing was running'}")


def clean(_arguments: Sequence[str]) -> None:
    """Removes what Rootstock keeps in paths.state, unless a flow is running; anything else there is left."""
    from flows.local.lock import flow_lock
    from flows.local.state import check_ours, empty, listed
    from tasks.core.paths import PathsParams

    state = PathsParams.load().paths.state
    if not state.exists():
        return
    check_ours(state)
    with flow_lock(state, "clean"):
        left = empty(state)
    if left:
        print(f"left in {state.resolve()}, since Rootstock does not write it: {listed(left)}")


def doctor(_arguments: Sequence[str]) -> None:
    """Checks the machine, the packages, params.yaml, locks and ports."""
    from flows.doctor import examine

    print(examine())
