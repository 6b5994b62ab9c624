"""`Batch` and `Orders`: the calls of a run in the form in which workers receive them."""

from __future__ import annotations

from array import array
from typing import Any

from executors.backends.workers.wire import Order
from executors.core.records import Call, describe, shown
from executors.errors import NotPicklable
from executors.pickling.packing import Encoded, Packed, encode, load, pack_by_value


class Kept:
    """A value that the report will have: packed for its readers, and as an object."""

    __slots__ = ("packed", "value")

    def __init__(self, packed: Packed, value: Any) -> None:
        self.packed = packed
        self.value = value


class Batch:
    """Calls that are sent to a worker in one message.

    Attributes:
        orders: the calls.
        is_plain: every encoded value in them is just bytes.
        descriptors: those that are sent with the message.
    """

    __slots__ = ("_segments", "descriptors", "is_plain", "orders")

    def __init__(self) -> None:
        self.orders: list[Order] = []
        self.is_plain = True
        self.descriptors: list[int] = []
        self._segments: list[Packed] = []  # kept alive while their descriptors are needed

    def encode(self, packed: Packed | Kept) -> Encoded:
        if isinstance(packed, Kept):
            packed = packed.packed
        if not isinstance(packed, bytes):
            self.is_plain = False
            self._segments.append(packed)
        return encode(packed, self.descriptors)

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
        """A value in the form in which the session holds it, or what is wrong with it."""
        self._all_bytes = False
        if not is_kept:
            return outcome, None
        try:
            return Kept(outcome, load(outcome)), None
        except BaseException as error:  # unpickling may raise anything
            name = call.task.name
            return None, NotPicklable(
                f"task {name!r}: its value cannot be unpickled: {describe(error)}"
            )

    def add(self, batch: Batch, number: int, call: Call, leader: int, flags: int) -> None:
        """Adds a call to a batch.

        Args:
            leader: the number of the call whose value is the argument, or 0 if there is none.

        Raises:
            NotPicklable: the action cannot be pickled.
        """
        action: Encoded | None = self._actions.get(id(call.task.action))
        if action is None:
            action = self._action(batch, call)
        arguments: list[Encoded] | int
        if leader:
            arguments = leader
        elif self._all_bytes:
            arguments = list(map(call.values.__getitem__, call.needs))
        else:
            arguments = [batch.encode(call.values[need]) for need in call.needs]
        batch.orders.append((number, flags, action, arguments))

    def _action(self, batch: Batch, call: Call) -> Encoded:
        action = call.task.action
        try:
            packed = pack_by_value(action)
        except (Exception, SystemExit) as error:
            advice = "use the threads backend, or create inside the action what cannot be pickled"
            reason = f"{describe(error)}; {advice}"
            if isinstance(error, NotPicklable):
                reason = str(error)
            raise NotPicklable(
                f"task {call.task.name!r}: its action {shown(action)} cannot be pickled: {reason}"
            ) from error
        if isinstance(packed, bytes):
            self._actions[id(action)] = packed
        return batch.encode(packed)
