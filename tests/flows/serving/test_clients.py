"""Clients of others against a real server: Triton's, in an environment of its own."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.flows.serving.running import Releases, Server, checkout
from tests.project import ROOT, environment
from tests.registered.drawing import picture

PROGRAM = """
import json, sys
import numpy, tritonclient.http

client = tritonclient.http.InferenceServerClient(sys.argv[1])
pictures = numpy.array([open(name, "rb").read() for name in sys.argv[2:]], dtype=object)
image = tritonclient.http.InferInput("image", [len(pictures)], "BYTES")
image.set_data_from_numpy(pictures, binary_data=True)
plain = client.infer("rootstock", [image])
chosen = [tritonclient.http.InferRequestedOutput("distribution", binary_data=True),
          tritonclient.http.InferRequestedOutput("embedding", binary_data=False)]
some = client.infer("rootstock", [image], model_version="1", outputs=chosen, request_id="seven")
tensor = tritonclient.http.InferInput("tensor", [2, 3, 32, 32], "FP32")
tensor.set_data_from_numpy(numpy.zeros((2, 3, 32, 32), numpy.float32))
of_tensor = client.infer("rootstock", [tensor])
try:
    broken = tritonclient.http.InferInput("image", [1], "BYTES")
    broken.set_data_from_numpy(numpy.array([b"no image"], dtype=object))
    client.infer("rootstock", [broken])
    error = ""
except tritonclient.http.InferenceServerException as raised:
    error = str(raised)
print(json.dumps({
    "live": client.is_server_live(), "ready": client.is_server_ready(), "model": client.is_model_ready("rootstock"),
    "outputs": [output["name"] for output in client.get_model_metadata("rootstock")["outputs"]],
    "label": [label.decode() for label in plain.as_numpy("label")],
    "confident": plain.as_numpy("confident").tolist(),
    "distribution": some.as_numpy("distribution").tolist(), "plain": plain.as_numpy("distribution").tolist(),
    "embedding": list(some.as_numpy("embedding").shape), "id": some.get_response()["id"],
    "tensor": of_tensor.as_numpy("probability").tolist(), "error": error,
}))
"""


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    """Returns the interpreter of an environment with Triton's client."""
    folder = tmp_path_factory.mktemp("triton")
    subprocess.run(["uv", "venv", "--quiet", "--python", sys.executable, str(folder)], check=True, env=environment())
    python = folder / "bin" / "python"
    install = ["uv", "pip", "install", "--quiet", "--python", str(python), "--group", "triton"]
    subprocess.run(install, cwd=ROOT, check=True, env=environment())
    return str(python)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    root = checkout(tmp_path_factory.mktemp("serving") / "checkout")
    releases = Releases(root, 1)
    releases.act("promote 1")
    releases.close()
    server = Server(root)
    server.wait_for("1")
    yield server
    server.close()


@pytest.mark.slow
def test_tritons_client_gets_the_same_answers(client, server, tmp_path):
    files = [tmp_path / f"{number}.png" for number in range(3)]
    for number, file in enumerate(files):
        file.write_bytes(picture(number))
    address = server.url.removeprefix("http://")
    command = [client, "-c", PROGRAM, address, *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    theirs = json.loads(done.stdout)
    ours = [
        server.client.post("/predict?distribution=true", content=picture(number), headers={"content-type": "image/png"})
        for number in range(3)
    ]
    answers = [response.json()["predictions"][0] for response in ours]
    assert [theirs[name] for name in ("live", "ready", "model")] == [True] * 3
    assert theirs["label"] == [answer["label"] for answer in answers]
    assert theirs["confident"] == [answer["confident"] for answer in answers]
    expected = [list(answer["distribution"].values()) for answer in answers]
    assert theirs["plain"] == theirs["distribution"]
    assert [row == pytest.approx(other, abs=1e-6) for row, other in zip(theirs["plain"], expected, strict=True)]
    assert theirs["outputs"] == ["label", "probability", "confident", "distribution", "embedding"]
    assert (theirs["id"], theirs["embedding"][0], len(theirs["tensor"])) == ("seven", 3, 2)
    assert "not an image" in theirs["error"]
