"""Defects that are planted to see that they are found: the test of the test.

Each is one mistake that somebody could make in the supervisor, mostly made once in a while
only. `python -m tests.simulation --plant NAME` looks for one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, cast

from dspex_pool import booting, callbacks, connections, deaths, endings, holdings, link, scaling, switchboard
from dspex_pool.calls import Call, Caller
from dspex_pool.connections import Connection
from dspex_pool.deaths import AfterDeath
from dspex_pool.outcomes import Outcomes
from dspex_pool.placing import Placing
from dspex_pool.slot import Slot
from dspex_pool.slots import Slots
from dspex_pool.starting import Starts
from dspex_pool.switchboard import CancelAnswer, StuckCheck, Switchboard
from dspex_pool.worker import Worker
from dspex_protocol import NIL, REPLY, Envelope, encode

from .batch_plants import BATCH_PLANTS
from .job_plants import JOB_PLANTS
from .occasions import Occasions
from .patches import Patch
from .store_plants import STORE_PLANTS


class Muted:
    """Something that is spoken to and says nothing."""

    def __init__(self, caller: Any) -> None:
        self._caller = caller
        self.link = self

    def send(self, frame: bytes) -> None:
        """Lost."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._caller, name)


def drop_reply() -> list[Patch]:
    """A call is closed and its outcome never sent."""
    right, occasions = Outcomes._answer, Occasions()

    def wrong(self: Outcomes, call: Call, *given: Any) -> None:
        if occasions.is_bad():
            self.close(call)
        else:
            right(self, call, *given)

    return [(Outcomes, "_answer", wrong)]


def double_reply() -> list[Patch]:
    """An outcome is sent twice."""
    right, occasions = Outcomes.close, Occasions()

    def wrong(self: Outcomes, call: Call) -> None:
        caller, call_id = call.caller, call.id
        right(self, call)
        if occasions.is_bad() and caller is not None:
            caller.link.send(encode(REPLY, call_id, None, {}, NIL))

    return [(Outcomes, "close", wrong)]


def reuse_place() -> list[Patch]:
    """A place counts as free once the call in it is answered, although its worker still runs it."""

    def wrong(self: Worker) -> int:
        return sum(call.caller is not None for call in self.calls.values())

    return [(Worker, "load", property(wrong))]


def lose_credit() -> list[Patch]:
    """Credit is counted here and not passed on."""
    right, occasions = Switchboard.add_credit, Occasions()

    def wrong(self: Switchboard, caller: Any, call_id: int, meta: Any) -> None:
        call = caller.calls.get(call_id)
        if call is None or call.worker is None or not occasions.is_bad():
            right(self, caller, call_id, meta)
            return
        worker, call.worker = call.worker, None
        right(self, caller, call_id, meta)
        call.worker = worker

    return [(Switchboard, "add_credit", wrong)]


def skip_fence() -> list[Patch]:
    """An answer is taken for the newest call of that id, whichever worker it was given to."""
    right_take, right_release = Worker.take, Worker.release
    newest: dict[int, Call] = {}

    def take(self: Worker, call: Call) -> int:
        worker_id = right_take(self, call)
        newest[worker_id] = call
        return worker_id

    def release(self: Worker, worker_id: int) -> Call | None:
        return right_release(self, worker_id) or newest.get(worker_id)

    return [(Worker, "take", take), (Worker, "release", release)]


def forget_retry() -> list[Patch]:
    """A call whose worker died before it began is neither sent again nor failed."""
    right, occasions = deaths.after_death, Occasions(5)

    def wrong(call: Call, **given: Any) -> AfterDeath:
        fate = right(call, **given)
        forgets = fate in (AfterDeath.RESEND, AfterDeath.REPEAT) and occasions.is_bad()
        return AfterDeath.DROP if forgets else fate

    return [(switchboard, "after_death", wrong)]


def repeat_committed() -> list[Patch]:
    """A call that had effects is repeated."""
    right = deaths.after_death

    def wrong(call: Call, **given: Any) -> AfterDeath:
        fate = right(call, **given)
        return AfterDeath.REPEAT if fate is AfterDeath.FAIL else fate

    return [(switchboard, "after_death", wrong)]


def ignore_deadline_in_queue() -> list[Patch]:
    """A call that waits for a worker waits on after its deadline."""
    right = Switchboard._deadline_passed

    def wrong(self: Switchboard, call: Call) -> None:
        if call.worker is not None:
            right(self, call)

    return [(Switchboard, "_deadline_passed", wrong)]


def no_backoff() -> list[Patch]:
    """A worker that does not start is started again at once."""
    return [(booting, "FIRST_BACKOFF_S", 0.0)]


def spare_stuck_worker() -> list[Patch]:
    """A worker that does not get rid of a call is left alone."""
    right = Switchboard._abandon

    def wrong(self: Switchboard, call: Call) -> None:
        right(self, call)
        if call.worker is not None:
            for thing in list(self._wheel._tick_of):
                if isinstance(thing, StuckCheck) and thing.worker_id == call.worker_id:
                    self._wheel.remove(thing)

    return [(Switchboard, "_abandon", wrong)]


def wait_for_cancelled() -> list[Patch]:
    """A cancelled call is answered when its worker says so, however long that takes."""
    right = Switchboard.cancel

    def wrong(self: Switchboard, caller: Any, call_id: int) -> None:
        right(self, caller, call_id)
        for thing in list(self._wheel._tick_of):
            if isinstance(thing, CancelAnswer):
                self._wheel.remove(thing)

    return [(Switchboard, "cancel", wrong)]


def pass_any_item() -> list[Patch]:
    """Items are passed on in whatever order, beyond the credit too."""
    right = Switchboard._item

    def wrong(self: Switchboard, worker: Worker, envelope: Envelope, body: bytes) -> None:
        call = worker.calls.get(envelope.id)
        if call is not None:
            seq = envelope.meta.get("seq")
            call.next_seq = seq if isinstance(seq, int) else 0
            call.credit = 1
        right(self, worker, envelope, body)

    return [(Switchboard, "_item", wrong)]


def drop_item() -> list[Patch]:
    """An item is counted and not sent."""
    right, occasions = Switchboard._item, Occasions()

    def wrong(self: Switchboard, worker: Worker, envelope: Envelope, body: bytes) -> None:
        call = worker.calls.get(envelope.id)
        if call is not None and call.caller is not None and occasions.is_bad():
            caller = call.caller
            muted = call.caller = cast("Caller", Muted(caller))
            right(self, worker, envelope, body)
            if call.caller is muted:
                call.caller = caller
        else:
            right(self, worker, envelope, body)

    return [(Switchboard, "_item", wrong)]


def read_for_ever() -> list[Patch]:
    """A client that reads nothing is listened to as any other."""
    return [(connections, "MAX_UNREAD_BYTES", 1 << 40)]


def leave_callbacks_open() -> list[Patch]:
    """Callbacks in a call that has ended are not cancelled."""

    def wrong(call: Call, caller: Any) -> None:
        call.callbacks.clear()

    return [(callbacks, "end_with", wrong)]


def swap_callback_answers() -> list[Patch]:
    """The answer to a callback goes to another one of the same client."""
    right, occasions = callbacks.answer, Occasions(3)

    def wrong(caller: Any, envelope: Envelope, payload: bytes) -> None:
        others = [known for known in caller.callbacks if known != envelope.id]
        if others and occasions.is_bad():
            envelope = envelope._replace(id=others[0])
        right(caller, envelope, payload)

    return [(callbacks, "answer", wrong)]


def pass_any_piece() -> list[Patch]:
    """The items of a host function are passed on in whatever order, beyond their credit too."""
    right = callbacks.item

    def wrong(caller: Any, envelope: Envelope, payload: bytes) -> None:
        callback = caller.callbacks.get(envelope.id)
        if callback is not None:
            seq = envelope.meta.get("seq")
            callback.next_seq = seq if isinstance(seq, int) else 0
            callback.credit = 1
        right(caller, envelope, payload)

    return [(callbacks, "item", wrong)]


def drop_piece() -> list[Patch]:
    """An item of a host function is lost, and nobody told."""
    right, occasions = callbacks.item, Occasions()

    def wrong(caller: Any, envelope: Envelope, payload: bytes) -> None:
        callback = caller.callbacks.get(envelope.id)
        if callback is None or callback.next_seq != envelope.meta.get("seq") or not occasions.is_bad():
            right(caller, envelope, payload)
            return
        callback.next_seq += 1
        callback.credit -= 1

    return [(callbacks, "item", wrong)]


def forget_the_host_breaks_off() -> list[Patch]:
    """A callback that was ended for an item out of turn stays open for its client."""
    right = callbacks.break_off

    def wrong(caller: Any, host_id: int, failure: Any) -> None:
        callback = caller.callbacks.get(host_id)
        right(caller, host_id, failure)
        if callback is not None:
            caller.callbacks[host_id] = callback

    return [(callbacks, "break_off", wrong)]


def forget_bytes() -> list[Patch]:
    """The payload of a call that failed stays counted."""
    right, occasions = Outcomes.close, Occasions()

    def wrong(self: Outcomes, call: Call) -> None:
        right(self, call)
        if occasions.is_bad():
            self.open_bytes += 1

    return [(Outcomes, "close", wrong)]


def forget_replacement() -> list[Patch]:
    """The place of a dead worker stays empty."""
    right, occasions = Starts.fill, Occasions(8)

    def wrong(self: Starts, slot: Slot) -> None:
        if not occasions.is_bad():
            right(self, slot)

    return [(Starts, "fill", wrong)]


def work_for_nobody() -> list[Patch]:
    """What a client had asked for goes on when it is gone."""

    def wrong(self: Switchboard, caller: Any) -> None:
        for call in list(caller.calls.values()):
            self.placing.waiting.remove(call)
            self.outcomes.close(call)

    return [(Switchboard, "client_gone", wrong)]


def lose_last_words() -> list[Patch]:
    """What a worker wrote before it died is not read."""
    return [(link, "MAX_LAST_READS", 0)]


def wake_nobody() -> list[Patch]:
    """Calls that were held because their client did not read are not started again."""

    def wrong(self: Connection) -> None:
        self.link.start()

    return [(Connection, "_drained", wrong)]


def blame_the_neighbour() -> list[Patch]:
    """A worker's death fails a call of another worker."""
    right, occasions = Switchboard.worker_lost, Occasions(3)

    def wrong(self: Switchboard, worker: Worker, *given: Any) -> None:
        right(self, worker, *given)
        for other in self.placing.workers:
            for call in list(other.calls.values())[:1]:
                if call.caller is not None and occasions.is_bad():
                    self.outcomes.fail(call, endings.died_under(call, other.number, "SIGKILL"))
                    return

    return [(Switchboard, "worker_lost", wrong)]


def queue_nested() -> list[Patch]:
    """A call within a callback waits in the queue as any other does."""
    right = Placing.place

    def wrong(self: Placing, call: Call, *, is_held: bool) -> None:
        call.depth = 0
        right(self, call, is_held=is_held)

    return [(Placing, "place", wrong)]


def cut_short() -> list[Patch]:
    """A worker is replaced in the middle of its calls."""
    right = Slots._retire

    def wrong(self: Slots, worker: Worker, reason: Any) -> None:
        right(self, worker, reason)
        worker.process.kill()

    return [(Slots, "_retire", wrong)]


def keep_the_old() -> list[Patch]:
    """A worker that was replaced is never let go."""

    def wrong(self: Slots, worker: Worker) -> None:
        """It stays."""

    return [(Slots, "_let_go_if_done", wrong)]


def lose_call_at_recycle() -> list[Patch]:
    """The calls of a worker that drains are forgotten."""
    right = Switchboard.worker_drains

    def wrong(self: Switchboard, worker: Worker) -> None:
        right(self, worker)
        self.placing.release_all(worker)

    return [(Switchboard, "worker_drains", wrong)]


def spare_killers() -> list[Patch]:
    """A call is repeated however many workers die under it."""
    right = deaths.after_death

    def wrong(call: Call, **given: Any) -> AfterDeath:
        fate = right(call, **given)
        return AfterDeath.REPEAT if fate is AfterDeath.POISONED else fate

    return [(switchboard, "after_death", wrong)]


def forget_no_program() -> list[Patch]:
    """A worker is given program after program and never told to forget one."""
    return [(holdings.Holdings, "_is_over", property(lambda self: False))]


def take_it_for_sent() -> list[Patch]:
    """A stored program is taken for sent although its worker was told to forget it."""
    right = holdings.Holdings.take
    told: dict[int, set[holdings.Key]] = {}

    def take(self: holdings.Holdings, key: holdings.Key, record: bytes, in_use: Any) -> holdings.Provision:
        provision = right(self, key, record, in_use)
        known = told.setdefault(id(self), set())
        if key in known:
            return holdings.Provision(load=False, forget=provision.forget)
        known.add(key)
        return provision

    return [(holdings.Holdings, "take", take)]


def never_grow() -> list[Patch]:
    """A pool without workers stays without."""

    def wrong(self: scaling.Scaler, now_s: float, load: scaling.Load) -> int:
        return load.ready

    return [(scaling.Scaler, "decide", wrong)]


def stop_too_soon() -> list[Patch]:
    """A deadline passes 100 ms too early."""
    right = Switchboard.admit

    def wrong(self: Switchboard, caller: Any, envelope: Envelope, payload: bytes) -> None:
        right(self, caller, envelope, payload)
        call = caller.calls[envelope.id]
        if call.caller is not None:
            self._wheel.add(call, call.deadline_s - 0.1)

    return [(Switchboard, "admit", wrong)]


PLANTS: Final[dict[str, Callable[[], list[Patch]]]] = {
    plant.__name__: plant
    for plant in (
        drop_reply,
        double_reply,
        reuse_place,
        lose_credit,
        skip_fence,
        forget_retry,
        repeat_committed,
        ignore_deadline_in_queue,
        no_backoff,
        spare_stuck_worker,
        wait_for_cancelled,
        pass_any_item,
        drop_item,
        read_for_ever,
        leave_callbacks_open,
        swap_callback_answers,
        pass_any_piece,
        drop_piece,
        forget_the_host_breaks_off,
        forget_bytes,
        forget_replacement,
        work_for_nobody,
        lose_last_words,
        wake_nobody,
        blame_the_neighbour,
        queue_nested,
        cut_short,
        keep_the_old,
        lose_call_at_recycle,
        spare_killers,
        forget_no_program,
        take_it_for_sent,
        never_grow,
        stop_too_soon,
    )
} | {**STORE_PLANTS, **BATCH_PLANTS, **JOB_PLANTS}
"""By name; each makes its patches anew for each world, so that a seed replays."""
