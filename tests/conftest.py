"""What every test stands on: one thread, a home of its own, no network, and skips that say why.

It loads no model and no torch.
"""

from __future__ import annotations

import ipaddress
import json
import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

for _threads in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_threads] = "1"  # before torch is imported: two threads beside another process are far slower
os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", TOKENIZERS_PARALLELISM="false",
                  GRADIO_ANALYTICS_ENABLED="False", MPLBACKEND="Agg")

GOLDEN = Path(__file__).parent / "golden"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
HOME = pytest.StashKey[tempfile.TemporaryDirectory]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --golden, --slow, --deepspeed and --vllm."""
    parser.addoption("--golden", action="store_true",
                     help="renew tests/golden; only the tests that use it run")
    parser.addoption("--slow", action="store_true", help="also run the tests marked slow")
    parser.addoption("--deepspeed", action="store_true", help="also run the tests marked deepspeed")
    parser.addoption("--vllm", metavar="PYTHON",
                     help="the Python of an environment with vLLM; runs the tests marked vllm (make test-vllm)")


def pytest_configure(config: pytest.Config) -> None:
    """Give the run a home of its own before collection: the user's own specialists are no test cases."""
    config.stash[HOME] = tempfile.TemporaryDirectory(prefix="consilium-home-", ignore_cleanup_errors=True)
    os.environ["CONSILIUM_HOME"] = config.stash[HOME].name
    os.environ.pop("CONSILIUM_API_KEY", None)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove the home."""
    config.stash[HOME].cleanup()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With --golden keep only the tests that use golden files."""
    if config.getoption("--golden"):
        items[:] = [item for item in items if "golden" in getattr(item, "fixturenames", ())]


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a marked test where its part is absent, with the reason."""
    absent = {
        "gpu": None if shutil.which("nvidia-smi") else "needs an NVIDIA GPU",
        "browser": None if _browser() else f"needs a browser: one of {', '.join(BROWSERS)}",
        "vllm": None if item.config.getoption("--vllm") else "needs vLLM: make test-vllm",
        "data": None if _data() else "needs CONSILIUM_DATA, the folder of real images",
        "slow": None if item.config.getoption("--slow") else "slow: runs with --slow",
        "deepspeed": None if item.config.getoption("--deepspeed") else "needs DeepSpeed: make test-deepspeed",
    }
    for marker in item.iter_markers():
        if reason := absent.get(marker.name):
            pytest.skip(reason)


def _browser() -> str | None:
    return next((found for name in BROWSERS if (found := shutil.which(name))), None)


def _data() -> Path | None:
    folder = os.environ.get("CONSILIUM_DATA")
    return Path(folder) if folder and Path(folder).is_dir() else None


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Return the folder of real images; skips where CONSILIUM_DATA names none."""
    folder = _data()
    if folder is None:
        pytest.skip("needs CONSILIUM_DATA, the folder of real images")
    return folder


@pytest.fixture(scope="session")
def chromium() -> str:
    """Return the path of a browser for playwright; skips where the machine has none."""
    path = _browser()
    if path is None:
        pytest.skip(f"needs a browser: one of {', '.join(BROWSERS)}")
    return path


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Return check(name, value, tolerance): compares JSON-like `value` with tests/golden/NAME.json.

    `make golden` writes the file instead.
    """
    def check(name: str, value: Any, tolerance: float = 1e-3) -> None:
        path = GOLDEN / f"{name}.json"
        if request.config.getoption("--golden"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n")
        assert path.is_file(), f"no {path.name} in tests/golden; `make golden` writes it"
        differing = _difference(json.loads(path.read_text()), json.loads(json.dumps(value)), tolerance)
        assert differing is None, f"{name} differs from tests/golden: {differing}"
    return check


def _difference(old: Any, new: Any, tolerance: float, where: str = "$") -> str | None:
    """Return where two JSON values differ first, numbers within `tolerance` being equal."""
    if isinstance(old, dict) and isinstance(new, dict) and old.keys() == new.keys():
        pairs = [(f"{where}.{key}", old[key], new[key]) for key in old]
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        pairs = [(f"{where}[{i}]", a, b) for i, (a, b) in enumerate(zip(old, new, strict=True))]
    elif isinstance(old, float | int) and isinstance(new, float | int):
        return None if abs(old - new) <= tolerance else f"{where} was {old}, is {new}"
    else:
        return None if old == new else f"{where} was {str(old)[:80]}, is {str(new)[:80]}"
    return next((found for place, a, b in pairs if (found := _difference(a, b, tolerance, place))), None)


class NetworkUsed(RuntimeError):
    """A test tried to leave this machine."""


def _refuse_remote(host: object) -> None:
    name = host.decode() if isinstance(host, bytes) else str(host or "localhost")
    if name in ("localhost", socket.gethostname()):
        return
    try:
        local = ipaddress.ip_address(name.split("%")[0])
    except ValueError:
        raise NetworkUsed(f"Tests use no network; {name!r} was asked for.") from None
    if not (local.is_loopback or local.is_unspecified):
        raise NetworkUsed(f"Tests use no network; {name!r} was asked for.")


@pytest.fixture(scope="session", autouse=True)
def _no_network() -> Iterator[None]:
    """Refuse every connection but loopback and Unix sockets."""
    connect, look_up = socket.socket.connect, socket.getaddrinfo

    def guarded_connect(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6):
            _refuse_remote(address[0])
        connect(self, address)

    def guarded_look_up(host: Any, *args: Any, **kwargs: Any) -> Any:
        _refuse_remote(host)
        return look_up(host, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", guarded_connect)
        patch.setattr(socket, "getaddrinfo", guarded_look_up)
        yield
