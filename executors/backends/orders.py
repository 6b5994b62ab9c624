"""`Packet` and `Orders`: the calls of a run as its workers get them."""

from __future__ import annotations

from array import array
from typing import Any

from executors.backends.packing import Packed, Parcel, load, pack_by_value, parcel
from executors.backends.wire import Order
from executors.errors import NotPicklable
from executors.records import Call, describe, shown


class Kept:
    """A value that the report will have: packed for its readers, and the object."""

    __slots__ = ("packed", "value")

    def __init__(self, packed: Packed, value: Any) -> None:
        self.packed = packed
        self.value = value


class Packet:
    """Calls that go to a worker in one message.

    Attributes:
        orders: what they are.
        is_plain: every parcel in them is just bytes.
        descriptors: what has to go beside the message.
    """

    __slots__ = ("_segments", "descriptors", "is_plain", "orders")

    def __init__(self) -> None:
        self.orders: list[Order] = []
        self.is_plain = True
        self.descriptors: list[int] = []
        self._segments: list[Packed] = []  # as long as their descriptors are needed

    def parcel(self, packed: Packed | Kept) -> Parcel:
        if isinstance(packed, Kept):
            packed = packed.packed
        if not isinstance(packed, bytes):
            self.is_plain = False
            self._segments.append(packed)
        return parcel(packed, self.descriptors)

    def tickets(self) -> bytes:
        return array("Q", [order[0] for order in self.orders]).tobytes()


class Orders:
    """Packs the calls of one run."""

    def __init__(self) -> None:
        self._actions: dict[int, bytes] = {}  # by id: tasks often share one
        self._all_bytes = True  # every value so far is bytes

    def accept(
        self, call: Call, outcome: Packed, is_kept: bool
    ) -> tuple[Packed | Kept | None, NotPicklable | None]:
        """A value as the session holds it, or what is wrong with it."""
        self._all_bytes = False
        if not is_kept:
            return outcome, None
        try:
            return Kept(outcome, load(outcome)), None
        except BaseException as error:  # what is unpickled may raise anything
            name = call.task.name
            return None, NotPicklable(
                f"task {name!r}: its value cannot be unpickled: {describe(error)}"
            )

    def add(self, packet: Packet, number: int, call: Call, leader: int, flags: int) -> None:
        """Adds a call to a packet.

        Args:
            leader: the number of the call whose value is the argument, or 0.

        Raises:
            NotPicklable: its action cannot be pickled.
        """
        action: Parcel | None = self._actions.get(id(call.task.action))
        if action is None:
            action = self._action(packet, call)
        arguments: list[Parcel] | int
        if leader:
            arguments = leader
        elif self._all_bytes:
            arguments = list(map(call.values.__getitem__, call.needs))
        else:
            arguments = [packet.parcel(call.values[need]) for need in call.needs]
        packet.orders.append((number, flags, action, arguments))

    def _action(self, packet: Packet, call: Call) -> Parcel:
        action = call.task.action
        try:
            packed = pack_by_value(action)
        except (Exception, SystemExit) as error:
            raise NotPicklable(
                f"task {call.task.name!r}: its action {shown(action)} cannot be pickled:"
                f" {describe(error)}; use the threads backend, or create in the action what"
                " cannot be sent"
            ) from error
        if isinstance(packed, bytes):
            self._actions[id(action)] = packed
        return packet.parcel(packed)
