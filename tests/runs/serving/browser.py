"""A headless Chromium, driven over its DevTools protocol through a pair of pipes."""

import fcntl
import json
import os
import select
import subprocess
import time
from pathlib import Path
from typing import Any

_OPTIONS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-pipe",
)
_PATIENCE = 30.0


class Browser:
    """One page. `requests`: every address asked for; `complaints`: errors of scripts and of the console."""

    def __init__(self, profile: Path, width: int = 1280, height: int = 900) -> None:
        (theirs_in, ours_out), (ours_in, theirs_out) = os.pipe(), os.pipe()
        # Chromium reads commands from descriptor 3 and writes to 4, which these ends may be themselves.
        moved = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (theirs_in, theirs_out)]

        def place() -> None:
            os.dup2(moved[0], 3)
            os.dup2(moved[1], 4)

        self._process = subprocess.Popen(
            [
                "chromium",
                *_OPTIONS,
                f"--user-data-dir={profile}",
                f"--window-size={width},{height}",
                "about:blank",
            ],
            pass_fds=(3, 4),
            preexec_fn=place,
            stderr=subprocess.DEVNULL,
        )
        for end in (theirs_in, theirs_out, *moved):
            os.close(end)
        self._out, self._in = ours_out, ours_in
        self._unread, self._count, self._session = b"", 0, ""
        self.requests, self.complaints = list[str](), list[str]()
        targets = self("Target.getTargets")["targetInfos"]
        (page,) = [target["targetId"] for target in targets if target["type"] == "page"]
        self._session = self("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self(f"{domain}.enable")
        self.resize(width, height)

    def __call__(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command and wait for its result."""
        self._count += 1
        message: dict[str, Any] = {"id": self._count, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._count:
                assert "error" not in answer, f"{method}: {answer['error']}"
                result: dict[str, Any] = answer["result"]
                return result
            self._note(answer)

    def resize(self, width: int, height: int) -> None:
        self(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )

    def open(self, address: str) -> None:
        self("Page.navigate", url=address)

    def run(self, script: str) -> Any:
        """The value of a script, awaited."""
        answer = self(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True, userGesture=True
        )
        assert "exceptionDetails" not in answer, f"{script}: {answer['exceptionDetails']}"
        return answer["result"].get("value")

    def until(self, script: str) -> Any:
        """The value of a script once it is true."""
        end = time.monotonic() + _PATIENCE
        while time.monotonic() < end:
            value = self.run(script)
            if value:
                return value
            time.sleep(0.03)
        raise AssertionError(f"never: {script}; the page says {self.run('document.body.innerText')[:2000]!r}")

    def mouse(self, kind: str, x: float, y: float, **more: Any) -> None:
        """kind: Pressed, Moved, Released or Wheel."""
        button = {"button": "left", "clickCount": 1, "buttons": 1} if kind != "Wheel" else {}
        self("Input.dispatchMouseEvent", type=f"mouse{kind}", x=x, y=y, **button, **more)

    def click(self, selector: str, at: int = 0) -> None:
        """A real click into the middle of an element."""
        x, y, width, height = self.place(selector, at)
        for kind in ("Moved", "Pressed", "Released"):
            self.mouse(kind, x + width / 2, y + height / 2)

    def place(self, selector: str, at: int = 0) -> list[float]:
        """Left, top, width and height of an element, once it is scrolled to."""
        found: list[float] = self.run(
            f"(() => {{ const one = document.querySelectorAll({json.dumps(selector)})[{at}];"
            " one.scrollIntoView({block: 'center'});"
            " const {left, top, width, height} = one.getBoundingClientRect();"
            " return [left, top, width, height]; })()"
        )
        return found

    def key(self, key: str, *, shift: bool = False, text: str = "") -> None:
        for kind in ("keyDown", "keyUp"):
            typed = {"text": text} if text and kind == "keyDown" else {}
            self("Input.dispatchKeyEvent", type=kind, key=key, code=key, modifiers=8 if shift else 0, **typed)

    def close(self) -> None:
        self._session = ""
        os.write(self._out, b'{"id": 0, "method": "Browser.close"}\0')
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._out)
        os.close(self._in)

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._unread:
            assert select.select([self._in], [], [], _PATIENCE)[0], "Chromium says nothing"
            read = os.read(self._in, 1 << 20)
            assert read, "Chromium has ended"
            self._unread += read
        message, _, self._unread = self._unread.partition(b"\0")
        parsed: dict[str, Any] = json.loads(message)
        return parsed

    def _note(self, event: dict[str, Any]) -> None:
        told = event.get("params", {})
        if event.get("method") == "Network.requestWillBeSent":
            self.requests.append(told["request"]["url"])
        elif event.get("method") == "Runtime.exceptionThrown":
            self.complaints.append(str(told["exceptionDetails"]))
        elif event.get("method") == "Log.entryAdded" and told["entry"]["level"] == "error":
            self.complaints.append(told["entry"]["text"])
        elif event.get("method") == "Runtime.consoleAPICalled" and told["type"] == "error":
            self.complaints.append(str(told["args"]))
