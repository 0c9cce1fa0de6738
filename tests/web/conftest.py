"""The page's numerics in Node, taken out of the zip that ships; the page in Debian's Chromium."""

import contextlib
import json
import shutil
import subprocess
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest

from score_jax.web import page

KINDS = {"f4": np.float32, "f8": np.float64, "u1": np.uint8, "i4": np.int32}


def volume(array):
    """An array as the page's `Volume`."""
    return {**line(array), "shape": list(array.shape)}


def line(array):
    array = np.asarray(array)
    array = array.astype(np.uint8) if array.dtype == bool else array
    return {"t": array.dtype.str[1:], "data": array.ravel().tolist()}


def decoded(value):
    if isinstance(value, list):
        return [decoded(item) for item in value]
    if not isinstance(value, dict):
        return value
    if "t" in value:
        return np.array(value["data"], float).astype(KINDS[value["t"]])
    if set(value) == {"data", "shape"}:
        return decoded(value["data"]).reshape(value["shape"])
    return {key: decoded(item) for key, item in value.items()}


@pytest.fixture(scope="session")
def ask(tmp_path_factory):
    """Call functions of the numerics: each a list of a name and arguments; their results."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("no Node here: the page's numerics are not tried (apt-get install nodejs)")
    with zipfile.ZipFile(page.ZIP) as stored:
        module = Path(stored.extract(page.NUMERICS, tmp_path_factory.mktemp("numerics")))
    module = module.rename(module.with_suffix(".mjs"))

    script = Path(__file__).with_name("ask.mjs")
    with subprocess.Popen(
        [node, script, module], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def call(*asked, fails=False):
            process.stdin.write(json.dumps(asked) + "\n")
            process.stdin.flush()
            answers = json.loads(process.stdout.readline())
            if fails:
                return [answer["error"] for answer in answers]
            assert not [a for a in answers if "error" in a], answers
            return [decoded(answer["value"]) for answer in answers]

        yield call


CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
FLAGS = ("--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")


@pytest.fixture(scope="session")
def chromium():
    """A headless browser, kept for all tests."""
    program = next((path for name in CHROMIUM if (path := shutil.which(name))), None)
    if program is None:
        pytest.skip("no Chromium here: the page is not tried (apt-get install chromium)")
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as tool:
        browser = tool.chromium.launch(executable_path=program, args=FLAGS)
        yield browser
        browser.close()


@contextlib.contextmanager
def serving(server):
    """`server` in a thread; its address."""
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Tab:
    """A page of the browser and what it asked for and complained about."""

    def __init__(self, page):
        self.page, self.requested, self.complaints = page, [], []
        page.set_default_timeout(90_000)
        page.on("request", lambda request: self.requested.append(request.url))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", self._heard)

    def _heard(self, message):
        if message.type == "error":
            self.complaints.append(message.text)

    def open(self, url):
        self.page.goto(url)
        self.page.wait_for_selector("body[data-ready=yes]")

    def idle(self):
        self.page.wait_for_selector("body[data-busy=no]")

    def choose(self, field, *paths):
        """Files into one of the page's fields, as its buttons do."""
        self.page.set_input_files(field, [str(path) for path in paths])
        self.page.wait_for_timeout(30)
        self.idle()

    def click(self, what):
        self.page.click(what)
        self.idle()

    def text(self, what):
        return self.page.inner_text(what)

    def facts(self):
        """What the page says of the scan, in plain letters."""
        return self.text("#scan-facts").replace("\N{MULTIPLICATION SIGN}", "x")

    def saved(self, button, folder):
        """The file that a button saves."""
        with self.page.expect_download() as waiting:
            self.page.click(button)
        target = folder / waiting.value.suggested_filename
        waiting.value.save_as(target)
        return target


@pytest.fixture
def tab(chromium):
    context = chromium.new_context(viewport={"width": 1366, "height": 768}, accept_downloads=True)
    one = Tab(context.new_page())
    yield one
    context.close()
