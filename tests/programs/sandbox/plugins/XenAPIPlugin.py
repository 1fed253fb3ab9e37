"""Stands in for xapi-core's module of this name, with what plugins may expect of it.

XAPI runs a plugin with one argument, an XML-RPC call `fn [session, {str: str}]`, and
reads an XML-RPC response with Status and Value, or ErrorDescription, from its stdout.
"""
import sys
import xmlrpc.client
from typing import Any, Callable, Dict, List


class Failure(Exception):
    """What a plugin raises to have an error code of its own arrive at the caller."""

    def __init__(self, code: str, params: List[str]) -> None:
        super().__init__(code, params)
        self.params = [code] + params


def dispatch(table: Dict[str, Callable[[Any, Dict[str, str]], str]]) -> None:
    """Run the function that argv names, and print the response."""
    params: Any
    params, name = xmlrpc.client.loads(sys.argv[1])
    session, arguments = params
    reply: Dict[str, Any]
    try:
        if name is None or name not in table:
            raise Failure('UNKNOWN_XENAPI_PLUGIN_FUNCTION', [str(name)])
        reply = {'Status': 'Success', 'Value': table[name](session, arguments)}
    except Failure as failure:
        reply = {'Status': 'Failure', 'ErrorDescription': failure.params}
    except Exception as error:
        reply = {'Status': 'Failure', 'ErrorDescription': [
            'XENAPI_PLUGIN_FAILURE', name, type(error).__name__, str(error)]}
    print(xmlrpc.client.dumps((reply,), methodresponse=True, allow_none=True))
