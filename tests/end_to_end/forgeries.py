"""Forged headers, requests without the auth string, and what they aim at, by the name of the attack."""

from __future__ import annotations

from base64 import b64encode

FORGED_HOSTS = {
    "another_name": "Host: evil.example:{port}",
    "rebinding": "Host: 127.0.0.1.evil.example:{port}",
    "subdomain": "Host: localhost.evil.example",
    "trailing_dot": "Host: localhost.:{port}",
    "uppercase": "Host: LOCALHOST:{port}",
    "userinfo": "Host: evil.example@127.0.0.1:{port}",
    "userinfo_reversed": "Host: 127.0.0.1:{port}@evil.example",
    "all_interfaces": "Host: 0.0.0.0:{port}",
    "decimal": "Host: 2130706433:{port}",
    "mapped_ipv6": "Host: [::ffff:127.0.0.1]:{port}",
    "unspecified_ipv6": "Host: [::]:{port}",
    "private_network": "Host: 192.168.0.1:{port}",
    "empty": "Host:",
    "list": "Host: 127.0.0.1:{port}, evil.example",
    "twice": "Host: 127.0.0.1:{port}\r\nHost: evil.example",
    "forwarded": "Host: evil.example\r\nX-Forwarded-Host: 127.0.0.1:{port}\r\nForwarded: host=127.0.0.1:{port}",
    "folded": "Host: evil.example\r\n 127.0.0.1:{port}",
}
FORGED_ORIGINS = {
    "another_site": "http://evil.example",
    "another_port": "http://127.0.0.1:1",
    "another_name": "http://localhost:{port}",
    "opaque": "null",
    "userinfo": "http://127.0.0.1:{port}@evil.example",
    "longer": "http://127.0.0.1:{port}.evil.example",
    "file": "file://",
    "extension": "chrome-extension://127.0.0.1:{port}",
    "repeated": "http://127.0.0.1:{port}\r\nOrigin: http://evil.example",
    "empty": "",
}
STRANGERS = {  # requests without the auth string
    "nothing": {},
    "empty_basic": {"Authorization": "Basic "},
    "user_only": {"Authorization": f"Basic {b64encode(b'rootstock:').decode()}"},
    "wrong_password": {"Authorization": f"Basic {b64encode(b'rootstock:0123456789abcdef').decode()}"},
    "bearer": {"Authorization": "Bearer rootstock"},
    "api_key": {"Authorization": "Bearer pnu_0123456789", "X-Prefect-Api-Key": "pnu_0123456789"},
    "cookie": {"Cookie": "rootstock=1; rootstock-00000000=9999999999.0; prefect-password=cm9vdHN0b2Nr"},
    "forwarded": {"X-Forwarded-For": "127.0.0.1", "X-Forwarded-User": "rootstock", "X-Original-Url": "/health"},
    "method_override": {"X-HTTP-Method-Override": "GET", "X-Forwarded-Prefix": "/api/health"},
}
DETOURS = (
    "//{0}",
    "/health/..{0}",
    "/./{0}",
    "{0}?/health",
    "{0}#/health",
    "/%2e{0}",
    "/api/health/..;{0}",
    "{0};/health",
)
SOCKETS = ("/api/events/in", "/api/events/out", "/api/logs/out", "/api/work_pools/rootstock/workers/connect")
RUNS_CODE = {  # what a stranger would call to run code
    "deployment": ("/api/deployments/", {"name": "attack", "flow_id": "00000000-0000-0000-0000-000000000000"}),
    "flow": ("/api/flows/", {"name": "attack"}),
    "flow_run": ("/api/deployments/name/retrain/nightly/create_flow_run", {"name": "attack"}),
    "work_pool": ("/api/work_pools/", {"name": "attack", "type": "process"}),
    "block": ("/api/block_types/", {"name": "attack", "slug": "attack"}),
    "automation": ("/api/automations/", {"name": "attack"}),
    "events": ("/api/events", []),
    "logs": ("/api/logs/filter", {}),
    "settings": ("/api/admin/settings", None),
    "schema": ("/api/openapi.json", None),
}
