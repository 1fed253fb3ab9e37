"""XAPI in JSON on this host's unix socket: a third of the bytes of XML-RPC, a tenth of the time.

For the pool's first snapshot alone, and the events after it: on Python 3.6 the records of 5000 VMs
are parsed in half a second instead of four. Numbers are numbers here, and strings in XML-RPC.
"""
import json
from typing import Any, Sequence

from xsisolate.dom0.xapi.transport import LocalConnection

PATH = '/jsonrpc'
OK = 200
SURROGATE = b'\\ud'


class NoJson(Exception):
    """This XAPI does not answer in JSON."""


def call_json(method: str, params: Sequence[Any], timeout: float) -> Any:
    """Return the reply to a call as XML-RPC has it: Status with Value or ErrorDescription.

    Raises NoJson, and whatever a connection raises.
    """
    connection = LocalConnection(timeout)
    try:
        connection.request('POST', PATH, json.dumps({
            'jsonrpc': '2.0', 'id': 1, 'method': method, 'params': list(params)}).encode('ascii'),
            {'Content-Type': 'application/json'})
        response = connection.getresponse()
        data = response.read()
    finally:
        connection.close()
    if response.status != OK:
        raise NoJson('HTTP %d' % response.status)
    try:
        reply = json.loads(data.decode('utf-8'), strict=False)
        if SURROGATE in data:       # half a pair is no text, and no guest may hand us one
            json.dumps(reply, ensure_ascii=False).encode('utf-8')
        if 'result' in reply:
            return {'Status': 'Success', 'Value': reply['result']}
        error = reply['error']
        return {'Status': 'Failure', 'ErrorDescription': [
            str(error['message']), *map(str, error.get('data') or ())]}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise NoJson('%s: %.60r' % (type(error).__name__, data[:60])) from None
