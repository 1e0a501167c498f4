//! Deadlines of one worker: a slab that one ticking task looks through.
//!
//! In: an [`Alarm`] per connection, set to "this long from now". Out: the task that waits on it is
//! woken once the time is over. Setting an alarm is one store: no timer wheel, no system call; the
//! price is a resolution of [`TICK`]. Never: shared between threads.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// How late an alarm may go off.
pub const TICK: Duration = Duration::from_millis(50);

/// The alarms of one worker.
#[derive(Debug)]
pub struct Clock {
    origin: Instant,
    /// Milliseconds since `origin`, as of the last tick.
    now_ms: Cell<u64>,
    alarms: RefCell<slab::Slab<Slot>>,
}

#[derive(Debug, Default)]
struct Slot {
    /// 0: not set. `u64::MAX`: gone off.
    due_ms: u64,
    /// Between requests: may be rung early, to drain.
    idle: bool,
    waker: Option<Waker>,
}

/// Goes off once, after the time that it was last set to.
#[derive(Debug)]
pub struct Alarm {
    clock: Rc<Clock>,
    index: usize,
}

impl Clock {
    pub fn new() -> Rc<Self> {
        Rc::new(Self {
            origin: Instant::now(),
            now_ms: Cell::new(1),
            alarms: RefCell::new(slab::Slab::new()),
        })
    }

    /// Milliseconds since the worker's start, at most one [`TICK`] old. Costs nothing.
    pub fn coarse_ms(&self) -> u64 {
        self.now_ms.get()
    }

    /// Since the worker's start, to the clock's full resolution.
    pub fn since_start(&self) -> Duration {
        self.origin.elapsed()
    }

    pub fn alarm(self: &Rc<Self>) -> Alarm {
        let index = self.alarms.borrow_mut().insert(Slot::default());
        Alarm { clock: Rc::clone(self), index }
    }

    /// One turn of the ticking task: wakes all whose time is over.
    pub fn tick(&self) {
        let now = u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX - 1).max(1);
        self.now_ms.set(now);
        let mut due = Vec::new();
        for (_, slot) in self.alarms.borrow_mut().iter_mut() {
            if slot.due_ms != 0 && slot.due_ms <= now {
                slot.due_ms = u64::MAX;
                due.extend(slot.waker.take());
            }
        }
        for waker in due {
            waker.wake();
        }
    }

    /// Lets the alarms of idle connections go off now. One that has gone off stays so, though its
    /// task may not have noticed yet.
    pub fn ring_idle(&self) {
        for (_, slot) in self.alarms.borrow_mut().iter_mut() {
            if slot.idle && slot.due_ms != 0 && slot.due_ms != u64::MAX {
                slot.due_ms = slot.due_ms.min(1);
            }
        }
    }
}

impl Alarm {
    /// Sets the alarm to `after` from now; an earlier setting is forgotten.
    pub fn set(&self, after: Duration) {
        let after = u64::try_from(after.as_millis()).unwrap_or(u64::MAX / 2);
        self.write(self.clock.now_ms.get().saturating_add(after).saturating_add(1), false);
    }

    /// As [`Alarm::set`], but [`Clock::ring_idle`] rings it early.
    pub fn set_idle(&self, after: Duration) {
        self.set(after);
        if let Some(slot) = self.clock.alarms.borrow_mut().get_mut(self.index) {
            slot.idle = true;
        }
    }

    pub fn clear(&self) {
        self.write(0, false);
    }

    /// Ready once the alarm has gone off; else the task will be woken when it does.
    pub fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut alarms = self.clock.alarms.borrow_mut();
        let Some(slot) = alarms.get_mut(self.index) else { return Poll::Pending };
        if slot.due_ms == u64::MAX {
            return Poll::Ready(());
        }
        if !slot.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            slot.waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Waits for `work`, but no longer than the alarm was set to: then `None`.
    pub async fn within<F: Future>(&self, work: F) -> Option<F::Output> {
        let mut work = pin!(work);
        poll_fn(|cx| match work.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending => self.poll(cx).map(|()| None),
        })
        .await
    }

    fn write(&self, due_ms: u64, idle: bool) {
        if let Some(slot) = self.clock.alarms.borrow_mut().get_mut(self.index) {
            slot.due_ms = due_ms;
            slot.idle = idle;
        }
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.clock.alarms.borrow_mut().try_remove(self.index);
    }
}

#[cfg(test)]
mod tests {
    use super::Clock;
    use std::task::{Context, Waker};
    use std::time::Duration;

    #[test]
    fn an_idle_alarm_that_went_off_is_not_set_anew_by_the_drain() {
        let clock = Clock::new();
        let alarm = clock.alarm();
        let mut cx = Context::from_waker(Waker::noop());
        alarm.set_idle(Duration::from_mins(1));
        assert!(alarm.poll(&mut cx).is_pending());
        clock.ring_idle();
        clock.tick();
        // The drain rings again before the woken task is polled.
        clock.ring_idle();
        assert!(alarm.poll(&mut cx).is_ready());
    }

    #[test]
    fn an_alarm_under_way_is_not_rung_by_the_drain() {
        let clock = Clock::new();
        let alarm = clock.alarm();
        let mut cx = Context::from_waker(Waker::noop());
        alarm.set(Duration::from_mins(1));
        clock.ring_idle();
        clock.tick();
        assert!(alarm.poll(&mut cx).is_pending());
    }
}
