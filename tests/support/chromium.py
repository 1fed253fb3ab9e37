"""Debian's Chromium, without a window and without a network, driven over a pipe."""
import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import zlib
from typing import Any, Dict, List, Tuple

FLAGS = ('--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
         '--disable-background-networking', '--disable-component-update', '--disable-sync',
         '--hide-scrollbars', '--remote-debugging-pipe')
TIMEOUT_S = 20
CHANNELS = {2: 3, 6: 4}         # of a PNG's colour types


class Chrome:
    """One browser with one page, in an empty profile of its own."""

    def __init__(self) -> None:
        program = shutil.which('chromium')
        assert program, 'there is no chromium: `make test-browser` installs it'
        self._profile = tempfile.mkdtemp(prefix='xsisolate-chromium-')
        (theirs_in, self._out), (self._in, theirs_out) = os.pipe(), os.pipe()
        log = open(os.path.join(self._profile, 'log'), 'wb')

        def place() -> None:        # it reads commands from 3 and answers on 4
            os.dup2(os.dup(theirs_in), 3), os.dup2(os.dup(theirs_out), 4)

        # numbers of ours could be 3 or 4 themselves
        theirs_in, theirs_out = (os.dup2(number, number + 60) for number in (
            theirs_in, theirs_out))
        self._process = subprocess.Popen(
            [program, *FLAGS, '--user-data-dir=' + self._profile], stdin=subprocess.DEVNULL,
            stdout=log, stderr=log, pass_fds=(3, 4), preexec_fn=place)
        os.close(theirs_in), os.close(theirs_out)
        self._number, self._data, self._session = 0, b'', ''
        self.events: List[Dict[str, Any]] = []
        target = self.call('Target.createTarget', url='about:blank')['targetId']
        self._session = self.call('Target.attachToTarget', targetId=target,
                                  flatten=True)['sessionId']
        for domain in ('Page', 'Runtime', 'Log', 'Network'):
            self.call(domain + '.enable')

    def close(self) -> None:
        """End the browser, and remove its profile."""
        self._process.kill()
        self._process.wait()
        os.close(self._in), os.close(self._out)
        shutil.rmtree(self._profile, ignore_errors=True)

    def call(self, method: str, **params: Any) -> Dict[str, Any]:
        """Call a method of the DevTools protocol."""
        self._number += 1
        message = {'id': self._number, 'method': method, 'params': params}
        if self._session:
            message['sessionId'] = self._session
        os.write(self._out, json.dumps(message).encode() + b'\0')
        while True:
            answer = self._read()
            if answer.get('id') == self._number:
                assert 'error' not in answer, (method, answer['error'])
                return dict(answer['result'])
            self.events.append(answer)

    def _read(self) -> Dict[str, Any]:
        while b'\0' not in self._data:
            ready, _, _ = select.select([self._in], [], [], TIMEOUT_S)
            assert ready, 'chromium does not answer'
            piece = os.read(self._in, 1 << 20)
            assert piece, 'chromium has ended'
            self._data += piece
        message, _, self._data = self._data.partition(b'\0')
        return dict(json.loads(message))

    def open(self, path: str, width: int = 1280, height: int = 1600, dark: bool = False,
             script: bool = True) -> None:
        """Show a file."""
        self.call('Emulation.setDeviceMetricsOverride', width=width, height=height,
                  deviceScaleFactor=1, mobile=False)
        self.call('Emulation.setEmulatedMedia', features=[
            {'name': 'prefers-color-scheme', 'value': 'dark' if dark else 'light'}])
        self.call('Emulation.setScriptExecutionDisabled', value=not script)
        self.events = []
        # another document each time, also where only the fragment differs
        self.call('Page.navigate', url='about:blank')
        self.wait_for('Page.loadEventFired')
        self.call('Page.navigate', url='file://' + path)
        self.wait_for('Page.loadEventFired')

    def wait_for(self, method: str) -> None:
        """Wait for an event."""
        while method not in [event.get('method') for event in self.events]:
            self.events.append(self._read())
            assert self.events[-1].get('method') != 'Page.javascriptDialogOpening', 'a script runs'
        self.events = [event for event in self.events if event.get('method') != method]

    def evaluate(self, expression: str) -> Any:
        """Return what an expression of JavaScript is, for the test's own eyes."""
        found = self.call('Runtime.evaluate', expression=expression, returnByValue=True)
        assert 'exceptionDetails' not in found, found
        return found['result'].get('value')

    def press(self, key: str, code: int) -> None:
        """Press a key."""
        for kind in ('rawKeyDown', 'keyUp'):
            self.call('Input.dispatchKeyEvent', type=kind, key=key, code=key,
                      windowsVirtualKeyCode=code, nativeVirtualKeyCode=code,
                      **({'text': '\r'} if key == 'Enter' and kind == 'rawKeyDown' else {}))

    def screenshot(self) -> bytes:
        """Return what is to be seen, as PNG."""
        return base64.b64decode(self.call('Page.captureScreenshot', format='png')['data'])

    def complaints(self) -> List[str]:
        """Return what the page has logged, or asked the network for."""
        return [str(event['params']) for event in self.events
                if event.get('method') in ('Log.entryAdded', 'Runtime.exceptionThrown',
                                           'Runtime.consoleAPICalled', 'Network.loadingFailed')
                or (event.get('method') == 'Network.requestWillBeSent' and not str(
                    event['params']['request']['url']).startswith(('file://', 'about:')))]


class Image:
    """A PNG's pixels."""

    def __init__(self, data: bytes) -> None:
        assert data[:8] == b'\x89PNG\r\n\x1a\n'
        at, body = 8, b''
        while at < len(data):
            size, kind = int.from_bytes(data[at:at + 4], 'big'), data[at + 4:at + 8]
            piece = data[at + 8:at + 8 + size]
            if kind == b'IHDR':
                self.width, self.height = (int.from_bytes(piece[n:n + 4], 'big') for n in (0, 4))
                self._channels = CHANNELS[piece[9]]
            body += piece if kind == b'IDAT' else b''
            at += size + 12
        self._rows = self._unfilter(zlib.decompress(body))

    def _unfilter(self, raw: bytes) -> List[bytearray]:
        step, line = self._channels, self._channels * self.width
        rows, above = [], bytearray(line)
        for number in range(self.height):
            kind, *_ = raw[number * (line + 1):number * (line + 1) + 1]
            row = bytearray(raw[number * (line + 1) + 1:(number + 1) * (line + 1)])
            if kind == 2:
                row = bytearray((one + up) & 255 for one, up in zip(row, above))
            elif kind:
                for at in range(line):
                    left = row[at - step] if at >= step else 0
                    corner = above[at - step] if at >= step else 0
                    row[at] = (row[at] + {1: left, 3: (left + above[at]) // 2, 4: paeth(
                        left, above[at], corner)}[kind]) & 255
            rows.append(row)
            above = row
        return rows

    def at(self, x: float, y: float) -> Tuple[int, ...]:
        """Return the colour of a pixel."""
        start = int(x) * self._channels
        return tuple(self._rows[int(y)][start:start + 3])


def paeth(left: int, up: int, corner: int) -> int:
    """Return PNG's predictor."""
    guess = left + up - corner
    return min((abs(guess - left), 0, left), (abs(guess - up), 1, up),
               (abs(guess - corner), 2, corner))[2]
