"""Models on the Hugging Face Hub: written for it, and fetched from a small server that stands for it."""

import http.server
import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

import fgsn
from fgsn.errors import FgsnError, MissingExtraError

FETCH = """
import sys, fgsn
from fgsn.errors import FgsnError
for address in sys.argv[1:]:
    try:
        print(fgsn.load(address, "cpu").clusters)
    except FgsnError as error:
        print(error)
"""


def test_a_folder_for_the_hub(make_model, tmp_path):
    facts = {"kind": "fine-grained labels", "data": ["a | b"], "validation": {"kappa": 0.43758}}
    model = replace(make_model(classes=7, names=False), facts=facts)
    model.save_pretrained(tmp_path / "mine")
    assert sorted(path.name for path in (tmp_path / "mine").iterdir()) == ["README.md", "model.safetensors"]
    again = fgsn.load(tmp_path / "mine", "cpu")
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    assert (again.segment(image) == model.segment(image)).all()
    _, header, body = (tmp_path / "mine" / "README.md").read_text().split("---\n", 2)
    assert yaml.safe_load(header)["library_name"] == "fgsn"
    assert "# 7 fine-grained labels" in body
    assert "| validation: kappa | 0.4376 |" in body
    assert "a \\| b" in body


@pytest.mark.parametrize("address", ["hf://name", "hf://a/b/c", "hf://a/b@", "hf://a b/c", "hf://", Path("hf://a")])
def test_other_addresses_are_refused(address):
    with pytest.raises(FgsnError, match="not the address of a model; expected hf://owner/name"):
        fgsn.load(address)


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'fgsn\[hub\]'"):
        fgsn.load("hf://owner/name")


class _Hub(http.server.BaseHTTPRequestHandler):
    """Answers as the Hub does for the model file of owner/name."""

    content = b""
    asked: list[str] = []  # noqa: RUF012

    def do_HEAD(self):
        self.asked.append(f"{self.command} {self.path}")
        there = self.path in [f"/owner/name/resolve/{revision}/model.safetensors" for revision in ("main", "v2")]
        self.send_response(200 if there else 404)
        if there:
            self.send_header("ETag", '"0123456789abcdef"')
            self.send_header("X-Repo-Commit", "a" * 40)
        else:
            self.send_header("X-Error-Code", "RepoNotFound")
        self.send_header("Content-Length", str(len(self.content) if there else 0))
        self.end_headers()
        return there

    def do_GET(self):
        if self.do_HEAD():
            self.wfile.write(self.content)

    def log_message(self, *_):
        pass


def test_a_model_is_fetched_once(make_model, tmp_path):
    pytest.importorskip("huggingface_hub")
    make_model(classes=9).save(tmp_path / "model.safetensors")
    _Hub.content, _Hub.asked = (tmp_path / "model.safetensors").read_bytes(), []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    environment = os.environ | {
        "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
        "HF_HOME": str(tmp_path / "hub"),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "NO_PROXY": "127.0.0.1",
    }

    def fetched(*addresses):
        return subprocess.run(
            [sys.executable, "-c", FETCH, *addresses], env=environment, capture_output=True, text=True, check=True
        ).stdout.splitlines()

    try:
        first, second, none = fetched("hf://owner/name", "hf:/owner/name@v2", "hf://owner/none")
        assert (first, second) == ("9", "9")
        assert none.startswith("model.safetensors of hf://owner/none cannot be downloaded: ")
        assert any(asked.startswith("GET") for asked in _Hub.asked)
    finally:
        server.shutdown()
        server.server_close()
    # What was fetched is there without a connection.
    environment["HF_HUB_OFFLINE"] = "1"
    assert fetched("hf://owner/name") == ["9"]
