"""OpenFlow 1.4's messages about flows: a change, a question, an answer."""
from struct import Struct

from xsisolate.openflow.actions import NICIRA, NOTE, ActionCodec
from xsisolate.openflow.flow import Flow
from xsisolate.openflow.match import MatchCodec
from xsisolate.typing_compat import Dict, Iterator, List, Tuple

ADD, MODIFY_STRICT, DELETE_STRICT = 0, 2, 4
ANY, NO_BUFFER, ALL_TABLES = 0xffffffff, 0xffffffff, 0xff
EXACT = 0xffffffffffffffff
APPLY_ACTIONS = 4
# cookie, mask, table, command, timeouts, priority, buffer, port, group, flags, importance
FLOW_MOD = Struct('!QQBBHHHIIIHH')
MATCH = Struct('!HH')                   # type (OXM), length without padding
INSTRUCTION = Struct('!HH4x')           # type, length
QUESTION = Struct('!B3xII4xQQ')         # table, port, group, cookie, mask
# length, table, age, priority, timeouts, flags, importance, cookie, packets, bytes
ANSWER = Struct('!HBxIIHHHHH2xQQQ')
ANSWER_AND_MATCH = Struct('!HBxIIHHHHH2xQQQHH')


# A header as it comes: match (type, length, metadata), instruction, action (vendor, kind)
METADATA = 0x80000408
HEADER_SHAPE = Struct('!HHIQHH4xHHIH')
HEADER_PARTS = (1, 16, METADATA)
HEADER_LEAST = ANSWER.size + HEADER_SHAPE.size


class FlowCodec:
    """Flows to messages and back."""

    def __init__(self) -> None:
        self._matches, self._actions = MatchCodec(), ActionCodec()
        self._instructions: Dict[bytes, str] = {}

    def add(self, flow: Flow, seconds: int = 0) -> bytes:
        """Return the body of the message that adds or replaces a flow, for a time or for good."""
        return FLOW_MOD.pack(flow.cookie, 0, flow.table, ADD, 0, seconds, flow.priority, NO_BUFFER,
                             ANY, ANY, 0, 0) + self._match(flow.match) + self._apply(flow.actions)

    def touch(self, flow: Flow) -> bytes:
        """Return the body of the message that writes a flow once more, if it is still there."""
        return FLOW_MOD.pack(flow.cookie, EXACT, flow.table, MODIFY_STRICT, 0, 0, flow.priority,
                             NO_BUFFER, ANY, ANY, 0, 0) + self._match(flow.match) + self._apply(
                                 flow.actions)

    def delete(self, flow: Flow) -> bytes:
        """Return the body of the message that deletes a flow if it is still ours."""
        return FLOW_MOD.pack(flow.cookie, EXACT, flow.table, DELETE_STRICT, 0, 0, flow.priority,
                             NO_BUFFER, ANY, ANY, 0, 0) + self._match(flow.match)

    def _apply(self, text: str) -> bytes:
        actions = self._actions.encode(text)
        return actions and INSTRUCTION.pack(
            APPLY_ACTIONS, INSTRUCTION.size + len(actions)) + actions

    def _match(self, text: str) -> bytes:
        fields = self._matches.encode(text)
        size = MATCH.size + len(fields)
        return MATCH.pack(1, size) + fields + bytes(-size % 8)

    def read(self, body: bytes) -> Iterator[Flow]:
        """Yield the flows in an answer."""
        known = self._instructions
        at = 0
        while at < len(body):
            (length, table, _, _, priority, _, _, _, _, cookie, _, _,
             _, size) = ANSWER_AND_MATCH.unpack_from(body, at)
            start, end = at + ANSWER_AND_MATCH.size, at + length
            begin = at + ANSWER.size + size + -size % 8
            match = self._matches.decode(body[start:start + size - MATCH.size])
            instructions = body[begin:end]
            if instructions not in known:
                known[instructions] = self._read_actions(instructions)
            yield tuple.__new__(Flow, (table, priority, match, known[instructions], cookie))
            at = end

    def read_headers(self, body: bytes) -> Tuple[List[Tuple[int, bytes]], List[Flow]]:
        """Return (cookie, note) of the headers in an answer, and flows that are no headers.

        A hook reads hundreds of them and needs few, so what they look like is taken as given:
        priority 1, their cookie's low half as metadata, a note and nothing else.
        """
        notes: List[Tuple[int, bytes]] = []
        strays: List[Flow] = []
        at = 0
        while at < len(body):
            length, _, _, _, priority, _, _, _, _, cookie, _, _ = ANSWER.unpack_from(body, at)
            start, end = at + ANSWER.size, at + length
            shape = HEADER_SHAPE.unpack_from(body, start) if length > HEADER_LEAST else ()
            if priority == 1 and shape == HEADER_PARTS + (
                    cookie & 0xffffffff, APPLY_ACTIONS, end - start - 16, 0xffff,
                    end - start - 24, NICIRA, NOTE):
                notes.append((cookie, body[start + HEADER_SHAPE.size:end]))
            else:
                strays += self.read(body[at:end])
            at = end
        return notes, strays

    def _read_actions(self, instructions: bytes) -> str:
        if not instructions:
            return 'drop'
        kind, length = INSTRUCTION.unpack_from(instructions)
        if kind != APPLY_ACTIONS or length != len(instructions):
            return 'instructions(%s)' % instructions.hex()
        return self._actions.decode(instructions[INSTRUCTION.size:])


def question(table: int, cookie: int, mask: int) -> bytes:
    """Return the body of the question for flows of a table, or all, whose cookie matches."""
    return QUESTION.pack(table, ANY, ANY, cookie, mask) + MATCH.pack(1, MATCH.size) + bytes(4)
