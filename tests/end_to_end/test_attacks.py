"""Nothing on Prefect, MLflow and the temporary server can be made, changed or read by a page of another site, under
another name of this machine, or without the auth string."""

from __future__ import annotations

import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.error import HTTPError

import pytest
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

from flows.local.auth import basic, mlflow_variables
from flows.local.servers import free_port, is_healthy
from flows.registry.watcher import RegistryState, registry_state
from tests import session
from tests.end_to_end.attackers import MLFLOW, PREFECT, RUN, SCRIPTS, Target, attackers_site, script_values
from tests.end_to_end.forgeries import DETOURS, FORGED_HOSTS, FORGED_ORIGINS, RUNS_CODE, SOCKETS, STRANGERS
from tests.end_to_end.test_promotion import browser  # noqa: F401 - a fixture
from tests.project import environment, run_python, wait_until

NAMES = ("prefect", "temporary", "mlflow", "shared")  # shared: MLflow with up.shared
SECURED = ("prefect", "temporary", "shared")  # that have the auth string


@pytest.fixture(scope="module")
def targets(served, prefect_server):
    """Yields the servers by name; MLflow with up.shared is one more server, on the same database."""
    port = free_port(0)
    shared = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "flows.local.server", "mlflow", str(port), "--shared"]
    with (served.root / ".state" / "logs" / "shared.log").open("w") as log:
        process = subprocess.Popen(
            command, cwd=served.root, env=environment(ROOTSTOCK_HOSTS="gpu7.example"), stdout=log, stderr=log
        )
    string, temporary = served.env["PREFECT_API_AUTH_STRING"], session.auth_string()
    try:
        wait_until(lambda: is_healthy("mlflow", shared))
        yield {
            "prefect": Target(served.addresses["prefect"], PREFECT, {"Authorization": basic(string)}),
            "temporary": Target(prefect_server.removesuffix("/api"), PREFECT, {"Authorization": basic(temporary)}),
            "mlflow": Target(served.addresses["mlflow"], MLFLOW),
            "shared": Target(shared, MLFLOW, {"Authorization": basic(string)}),
        }
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture
def target(targets, request):
    """Returns the server that a test's parameter names, and checks that nothing has been made there."""
    aimed = targets[request.param]
    yield aimed
    assert aimed.is_untouched()


def of(*names: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("target", names, indirect=True)


def link_to(served, address: str) -> str:
    code = f"from flows.local.login import new_link; print(new_link({address!r}))"
    return run_python(served.root, "-c", code).stdout.strip()


@of(*NAMES)
def test_the_owner_may_read_and_make(target):
    """Otherwise no attack below would show anything."""
    assert target.ask(target.paths["read"], **target.credentials)[0] == 200
    body = {**target.paths["body"], "name": f"owner{free_port(0)}"}
    assert target.ask(target.paths["make"], body, **target.credentials)[0] in {200, 201}
    own = {"Origin": target.address, "Sec-Fetch-Site": "same-origin", **target.credentials}
    assert target.ask(target.paths["read"], **own)[0] == 200


@of("shared")
@pytest.mark.parametrize("host", ["gpu7.example", "gpu7.example:8443", "127.0.0.1:5000", "[::1]:5000", "localhost"])
def test_a_named_host_is_served_by_mlflow_behind_the_guard_too(target, host):
    here = {"Host": host, "Origin": f"https://{host}", **target.credentials}
    body = {**target.paths["body"], "name": f"owner{free_port(0)}"}
    status, text = target.ask(target.paths["make"], body, **here)
    assert status == 200, text
    elsewhere = {**here, "Origin": "https://evil.example"}
    assert target.ask(target.paths["make"], target.paths["body"], **elsewhere)[0] == 403


@of(*NAMES)
@pytest.mark.parametrize("attack", FORGED_HOSTS)
def test_another_host_is_refused_even_with_the_string(target, attack):
    host = FORGED_HOSTS[attack].format(port=target.host.rpartition(":")[2])
    lines = [host, *(f"{name}: {value}" for name, value in target.credentials.items())]
    for request, body in (
        (f"GET {target.paths['read']}", None),
        (f"POST {target.paths['make']}", target.paths["body"]),
    ):
        status, text = target.send(f"{request} HTTP/1.1", *lines, body=body)
        assert status in {400, 403}, text


@of(*NAMES)
def test_no_host_is_refused_even_with_the_string(target):
    lines = [f"{name}: {value}" for name, value in target.credentials.items()]
    for version in ("1.0", "1.1"):
        status, text = target.send(f"GET {target.paths['read']} HTTP/{version}", *lines)
        assert status in {400, 403}, text


@of(*NAMES)
def test_a_target_that_names_another_host_is_refused_even_with_the_string(target):
    lines = [f"Host: {target.host}", *(f"{name}: {value}" for name, value in target.credentials.items())]
    status, text = target.send(f"GET http://evil.example{target.paths['read']} HTTP/1.1", *lines)
    assert status == 403, text


@of(*NAMES)
@pytest.mark.parametrize("attack", FORGED_ORIGINS)
def test_another_origin_is_refused_even_with_the_string(target, attack):
    origin = FORGED_ORIGINS[attack].format(port=target.host.rpartition(":")[2])
    credentials = [f"{name}: {value}" for name, value in target.credentials.items()]
    lines = [f"Host: {target.host}", f"Origin: {origin}", *credentials]
    for method, path in (("GET", "read"), ("OPTIONS", "make"), ("POST", "make"), ("PUT", "make"), ("DELETE", "make")):
        status, text = target.send(f"{method} {target.paths[path]} HTTP/1.1", *lines, body=target.paths["body"])
        assert status in {400, 403}, text
        assert "access-control-allow" not in text.lower()


@of(*SECURED)
@pytest.mark.parametrize("attack", STRANGERS)
def test_nothing_is_answered_without_the_string(target, attack):
    assert target.ask(target.paths["read"], **STRANGERS[attack])[0] == 401
    assert target.ask(target.paths["make"], target.paths["body"], **STRANGERS[attack])[0] == 401
    assert target.ask(target.paths["list"], {}, **STRANGERS[attack])[0] == 401


@of(*SECURED)
@pytest.mark.parametrize("detour", DETOURS)
def test_no_detour_leads_around_the_string(target, detour):
    path = detour.format(target.paths["read"])
    status, text = target.send(f"GET {path} HTTP/1.1", f"Host: {target.host}", "X-Detour: 1")
    readable = target.ask(target.paths["read"], **target.credentials)[1]
    assert readable not in text
    assert status in {401, 404} or "<!doctype html>" in text.lower(), text  # the page itself is no secret


@of("prefect", "temporary")
@pytest.mark.parametrize("attack", RUNS_CODE)
def test_no_stranger_runs_code_or_reads_settings(target, attack):
    path, body = RUNS_CODE[attack]
    assert target.ask(path, body)[0] == 401


@of("prefect", "temporary")
@pytest.mark.parametrize("path", SOCKETS)
@pytest.mark.parametrize("token", ["null", '""', '"wrong"', '"rootstock:0123456789abcdef"'])
def test_no_websocket_speaks_without_the_string(target, path, token):
    address = f"ws://{target.host}{path}"
    with pytest.raises(WebSocketException):
        connect(address)
    with connect(address, subprotocols=["prefect"]) as websocket:
        websocket.send(f'{{"type": "auth", "token": {token}}}')
        with pytest.raises(WebSocketException):
            websocket.recv(timeout=10)


@of(*NAMES)
@pytest.mark.parametrize("attack", FORGED_ORIGINS)
def test_no_websocket_opens_for_another_origin(target, attack):
    origin = FORGED_ORIGINS[attack].format(port=target.host.rpartition(":")[2])
    upgrade = ("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==")
    lines = [f"Host: {target.host}", f"Origin: {origin}", *upgrade, "Sec-WebSocket-Version: 13"]
    status, text = target.send(f"GET {target.paths['socket']} HTTP/1.1", *lines, "Sec-WebSocket-Protocol: prefect")
    assert status in {400, 403}, text


@of("mlflow", "shared")
@pytest.mark.parametrize("path", ["config", "message", "skills/install", "providers", "sessions/x/stream"])
def test_nobody_reaches_the_assistant_that_runs_programs(target, path):
    assert target.ask(f"/ajax-api/3.0/mlflow/assistant/{path}", **target.credentials)[0] == 403


def test_the_watcher_asks_with_the_string(targets, served, monkeypatch):
    address = targets["shared"].address
    for name in ("TOKEN", "USERNAME", "PASSWORD"):
        monkeypatch.delenv(f"MLFLOW_TRACKING_{name}", raising=False)
    with pytest.raises(HTTPError, match="401"):
        registry_state(address, "rootstock")
    for name, value in mlflow_variables(served.env["PREFECT_API_AUTH_STRING"]).items():
        monkeypatch.setenv(name, value)
    assert isinstance(registry_state(address, "rootstock"), RegistryState)


def test_the_lines_of_make_env_are_all_that_a_persons_commands_need(served):
    shown = served.prefect("deployment", "ls")
    assert "retrain/nightly" in shown.stdout, shown.stderr
    missing = {name: value for name, value in served.env.items() if name != "PREFECT_API_AUTH_STRING"}
    done = run_python(served.root, "-m", "flows", "retrain", **missing)
    assert done.returncode == 1
    assert "make -s env" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_string_is_in_no_log_and_on_no_command_line(served):
    import psutil

    from tasks.core.files import read_json

    password = served.env["PREFECT_API_AUTH_STRING"].partition(":")[2]
    logs = list((served.root / ".state").rglob("*.log"))
    assert len(logs) >= 4
    assert [file for file in logs if password in file.read_text(errors="replace")] == []
    servers = read_json(served.root / ".state" / "servers.json")
    assert password not in str(servers)
    assert [name for name, server in servers.items() if password in str(psutil.Process(server["pid"]).cmdline())] == []
    assert password not in served.flows("up").stdout + served.flows("doctor").stdout
    assert ((served.root / ".registry" / "auth-string").stat().st_mode & 0o777) == 0o600


def test_the_string_goes_to_no_other_server_even_while_ours_runs(served):
    seen = []

    class Recorder(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.headers["Authorization"])
            self.send_response(401)
            self.end_headers()

        do_POST = do_GET

    with ThreadingHTTPServer(("127.0.0.1", 0), Recorder) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        theirs = {"PREFECT_API_URL": f"http://127.0.0.1:{server.server_port}/api"}
        for more in ({}, {"PREFECT_API_AUTH_STRING": "their:string"}):
            assert run_python(served.root, "-m", "flows", "retrain", **theirs, **more).returncode == 1
        server.shutdown()
    assert set(seen) == {None, basic("their:string")}


@pytest.fixture(scope="module")
def logged_in(browser, targets, served):  # noqa: F811
    """Returns a browser whose person has opened MLflow's link, and the link."""
    link, context = link_to(served, targets["shared"].address), browser.new_context()
    page = context.new_page()
    page.goto(link)
    page.close()
    yield context, link
    context.close()


@pytest.fixture(scope="module")
def site(targets):
    makes = {f"/{target.host}": f"{target.address}{target.paths['make']}" for target in targets.values()}
    with attackers_site(makes) as address:
        yield address


@pytest.mark.browser
@pytest.mark.slow
@pytest.mark.parametrize("attack", SCRIPTS)
def test_a_page_of_another_site_reads_and_makes_nothing(attack, targets, logged_in, site):
    page = logged_in[0].new_page()
    page.goto(site)
    texts = page.evaluate(RUN, [attack, [script_values(target, site) for target in targets.values()]])
    page.close()
    assert dict(zip(targets, texts, strict=True)) == dict.fromkeys(targets, "")
    assert [name for name, target in targets.items() if not target.is_untouched()] == []


@pytest.mark.browser
@pytest.mark.slow
def test_the_link_works_once_and_shows_mlflow(targets, browser, logged_in):  # noqa: F811
    context, link = logged_in
    page = context.new_page()
    page.goto(f"{targets['shared'].address}/#/models")
    page.get_by_text("Registered Models").first.wait_for(timeout=60_000)
    page.goto(link)
    assert "login=" in page.url, "it redirects no second time"
    stranger = browser.new_context().new_page()
    for address in (link, targets["shared"].address):
        assert stranger.goto(address).status == 403
        assert "make up" in stranger.inner_text("body")
    (cookie,) = context.cookies(targets["shared"].address)
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")


@pytest.mark.browser
@pytest.mark.slow
def test_prefects_page_asks_for_the_string_once(targets, browser, served):  # noqa: F811
    page = browser.new_context().new_page()
    page.goto(targets["prefect"].address.replace("127.0.0.1", "localhost"))  # as through a tunnel
    page.locator("input").first.fill(served.env["PREFECT_API_AUTH_STRING"])
    page.keyboard.press("Enter")
    page.get_by_text("Flow Runs").first.wait_for(timeout=60_000)
    page.reload()
    page.get_by_text("Flow Runs").first.wait_for(timeout=60_000)
