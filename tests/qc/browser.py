"""Debian's Chromium, headless, driven over its DevTools socket on the loopback address."""

import asyncio
import base64
import itertools
import json
import shutil
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest
from tornado.websocket import websocket_connect

NAMES = ("chromium", "chromium-browser", "google-chrome")


def program():
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("no Chromium here: the page is not tried (apt-get install chromium)")
    return found


class Page:
    """One page of a browser of its own; keys and scripts as a person's and a console's."""

    def __init__(self, folder: Path):
        words = ["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run"]
        words += ["--remote-debugging-port=0", "--window-size=1366,900", "--hide-scrollbars"]
        words += [f"--user-data-dir={folder}", "--disable-background-networking", "about:blank"]
        self.process = subprocess.Popen(
            [program(), *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self.loop = asyncio.new_event_loop()
        self.numbers = itertools.count(1)
        self.told, self.socket = [], None
        try:
            port = self._port(folder / "DevToolsActivePort")
            self.socket = self.loop.run_until_complete(self._connected(self._target(port)))
            self.call("Page.enable")
            self.call("Network.enable")
        except BaseException:
            self.close()
            raise

    async def _connected(self, address):
        return await websocket_connect(address, max_message_size=2**28)

    def _port(self, path):
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if path.is_file() and (lines := path.read_text().split()):
                return lines[0]
            time.sleep(0.05)
        raise TimeoutError("Chromium did not say where it listens")

    def _target(self, port):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json") as answer:
            pages = json.load(answer)
        return next(p["webSocketDebuggerUrl"] for p in pages if p["type"] == "page")

    def call(self, method, **parameters):
        async def ask():
            number = next(self.numbers)
            text = json.dumps({"id": number, "method": method, "params": parameters})
            await self.socket.write_message(text)
            while True:
                message = json.loads(await asyncio.wait_for(self.socket.read_message(), 60))
                if message.get("id") == number:
                    return message
                self.told.append(message)

        answer = self.loop.run_until_complete(ask())
        assert "error" not in answer, answer
        return answer["result"]

    def open(self, url):
        self.call("Page.navigate", url=str(url))
        deadline = time.monotonic() + 60
        while self.run("document.readyState") != "complete" and time.monotonic() < deadline:
            time.sleep(0.02)

    def run(self, script):
        """The value of an expression; a promise is awaited."""
        answer = self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def press(self, *keys):
        for key in keys:
            text = {"text": key} if len(key) == 1 else {}
            self.call("Input.dispatchKeyEvent", type="keyDown", key=key, **text)
            self.call("Input.dispatchKeyEvent", type="keyUp", key=key)

    def picture(self, path):
        data = self.call("Page.captureScreenshot", format="png")["data"]
        path.write_bytes(base64.b64decode(data))

    def requested(self):
        """Addresses that the page asked for."""
        self.run("1")
        sent = [m for m in self.told if m.get("method") == "Network.requestWillBeSent"]
        return [m["params"]["request"]["url"] for m in sent]

    async def _goodbye(self):
        self.socket.close()  # tornado looks for the loop that runs
        await asyncio.sleep(0.1)

    def close(self):
        if self.socket is not None:
            self.loop.run_until_complete(self._goodbye())
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:  # a busy machine: its helpers may outlive a request
            self.process.kill()
            self.process.wait(20)
        self.loop.close()
