//! A place among a provider's calls: taken at once, waited for, or refused.
//!
//! In: a call that is about to go to a provider with `concurrency_and_buffer_size`. Out: a
//! [`Place`], held until the answer's end; or the refusal 503 `request_dropped`. The count is
//! exact over all cores ([`Turnstile`]). Calls that wait stand in one line per provider and worker:
//! a place that is given back goes to the head of its own worker's line, unless others wait
//! elsewhere and this worker has its share already; then it is free for all. The head of a line
//! looks for such a place every [`LOOK`]; nobody wakes another core. Never: a lock; a wait that the
//! client's going away or the time-out does not end.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use futures_util::future::select;

use super::Visit;
use super::exchange::Halt;
use super::failure::{Failure, Retry, Whose};
use crate::chat::ErrorKind;
use crate::govern::turnstile::Turnstile;
use crate::net::client_conn::{ClientConn, Interrupt};
use crate::provider::{Provider, Queue};

/// Between two looks of a line's head for a place that another core gave back.
const LOOK: Duration = Duration::from_millis(2);
/// The error's code: Bifrost's.
pub const DROPPED: &str = "request_dropped";

/// One worker's lines, by provider.
#[derive(Debug, Default)]
pub struct Lines(RefCell<HashMap<Box<str>, Rc<Line>>>);

#[derive(Debug)]
struct Line {
    turnstile: Arc<Turnstile>,
    /// Places that this worker has.
    held: Cell<u32>,
    waiting: RefCell<VecDeque<Rc<Slot>>>,
}

/// One call that waits.
#[derive(Debug, Default)]
struct Slot {
    /// It was given a place.
    given: Cell<bool>,
    /// Something changed since it looked last.
    stirred: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

/// A place among a provider's calls. Dropped, it is the next one's.
#[derive(Debug)]
pub struct Place {
    line: Rc<Line>,
    max: u32,
    share: u32,
}

impl Lines {
    fn at(&self, name: &str, turnstile: &Arc<Turnstile>) -> Rc<Line> {
        if let Some(line) = self.0.borrow().get(name) {
            return Rc::clone(line);
        }
        let line = Rc::new(Line {
            turnstile: Arc::clone(turnstile),
            held: Cell::new(0),
            waiting: RefCell::default(),
        });
        self.0.borrow_mut().insert(name.into(), Rc::clone(&line));
        line
    }
}

/// Takes a place among the calls of `provider`; `None` where these are not counted.
///
/// # Errors
/// The client went away, or there is no place to be had.
pub async fn enter(
    visit: &Visit<'_>,
    client: &mut ClientConn,
    provider: &Provider,
) -> Result<Option<Place>, Halt> {
    let Some(queue) = provider.queue else { return Ok(None) };
    let Some(turnstile) = visit.snapshot.turnstiles.get(&provider.name) else { return Ok(None) };
    let line = visit.core.lines.at(&provider.name, turnstile);
    let share = (queue.concurrency / visit.core.workers.max(1)).max(1);
    if let Some(place) = line.at_once(queue, share) {
        return Ok(Some(place));
    }
    if !turnstile.wait(queue.buffer) {
        if visit.snapshot.client.drop_excess_requests {
            return Err(dropped(provider, "as many calls as may wait already do").into());
        }
        // Whoever would rather wait than be dropped waits beyond the buffer.
        turnstile.wait(u32::MAX);
    }
    let waiting = Waiting::join(&line, queue, share);
    let limit = provider.network.first_byte_timeout;
    match client.guard(limit, waiting.place()).await {
        Ok(place) => Ok(Some(place)),
        Err(Interrupt::Gone) => Err(Halt::Gone),
        Err(Interrupt::Expired) => {
            let message = format!("no call ended within {} s", limit.as_secs());
            Err(dropped(provider, &message).into())
        }
    }
}

/// 503, and try again in a moment; another target may have room.
fn dropped(provider: &Provider, why: &str) -> Failure {
    let queue = provider.queue.unwrap_or_default();
    let message = format!(
        "{DROPPED}: {} has {} calls in flight, as many as it may have, and {why}",
        provider.name, queue.concurrency
    );
    let mut failure = Failure::new(503, ErrorKind::Overloaded, Whose::Gateway, message);
    failure.fault.code = Some(DROPPED.into());
    failure.retry = Retry::Next;
    failure.with_header("retry-after", "1")
}

impl Line {
    /// A place without waiting. Who has its share lets those go first that wait elsewhere.
    fn at_once(self: &Rc<Self>, queue: Queue, share: u32) -> Option<Place> {
        let fair = self.turnstile.waiting() == 0 || self.held.get() < share;
        let first = self.waiting.borrow().is_empty();
        (fair && first && self.turnstile.enter(queue.concurrency))
            .then(|| self.hold(queue.concurrency, share))
    }

    fn hold(self: &Rc<Self>, max: u32, share: u32) -> Place {
        self.held.set(self.held.get() + 1);
        Place { line: Rc::clone(self), max, share }
    }

    fn stir_head(&self) {
        if let Some(head) = self.waiting.borrow().front() {
            head.stir();
        }
    }
}

impl Slot {
    fn stir(&self) {
        self.stirred.set(true);
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    async fn stirring(&self) {
        poll_fn(|cx| {
            if self.stirred.replace(false) {
                return Poll::Ready(());
            }
            *self.waker.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// A call in its line; it leaves the line when it is dropped.
struct Waiting<'w> {
    line: &'w Rc<Line>,
    slot: Rc<Slot>,
    max: u32,
    share: u32,
}

impl<'w> Waiting<'w> {
    fn join(line: &'w Rc<Line>, queue: Queue, share: u32) -> Self {
        let slot = Rc::new(Slot::default());
        line.waiting.borrow_mut().push_back(Rc::clone(&slot));
        Self { line, slot, max: queue.concurrency, share }
    }

    async fn place(&self) -> Place {
        loop {
            if self.slot.given.replace(false) {
                return Place { line: Rc::clone(self.line), max: self.max, share: self.share };
            }
            let first =
                self.line.waiting.borrow().front().is_some_and(|head| Rc::ptr_eq(head, &self.slot));
            if first && self.line.turnstile.enter(self.max) {
                return self.line.hold(self.max, self.share);
            }
            if first {
                let looking = pin!(monoio::time::sleep(LOOK));
                select(looking, pin!(self.slot.stirring())).await;
            } else {
                self.slot.stirring().await;
            }
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.line.turnstile.stop_waiting();
        self.line.waiting.borrow_mut().retain(|other| !Rc::ptr_eq(other, &self.slot));
        if self.slot.given.take() {
            // It left at the moment when it was given a place.
            drop(Place { line: Rc::clone(self.line), max: self.max, share: self.share });
        }
        self.line.stir_head();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let line = &self.line;
        let own = line.waiting.borrow().len();
        let elsewhere = usize::try_from(line.turnstile.waiting()).unwrap_or(0) > own;
        let fair = !elsewhere || line.held.get() <= self.share;
        // A limit that was lowered by a reload takes effect as calls end.
        let within = line.turnstile.in_flight() <= self.max;
        let next = if fair && within { line.waiting.borrow_mut().pop_front() } else { None };
        if let Some(next) = next {
            next.given.set(true);
            next.stir();
        } else {
            line.held.set(line.held.get().saturating_sub(1));
            line.turnstile.leave();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    const QUEUE: Queue = Queue { concurrency: 1, buffer: 9 };

    fn line(turnstile: &Arc<Turnstile>) -> Rc<Line> {
        Lines::default().at("p", turnstile)
    }

    #[test]
    fn a_place_goes_to_the_head_of_its_own_line() {
        let turnstile = Arc::new(Turnstile::default());
        let line = line(&turnstile);
        let place = line.at_once(QUEUE, 1).unwrap();
        assert!(line.at_once(QUEUE, 1).is_none());
        turnstile.wait(9);
        turnstile.wait(9);
        let (one, two) = (Waiting::join(&line, QUEUE, 1), Waiting::join(&line, QUEUE, 1));
        drop(place);
        assert!(two.slot.stirring().now_or_never().is_none(), "not its turn");
        let place = one.place().now_or_never().unwrap();
        assert_eq!((turnstile.in_flight(), line.held.get()), (1, 1));
        drop(one);
        drop(two);
        drop(place);
        assert_eq!((turnstile.in_flight(), turnstile.waiting(), line.held.get()), (0, 0, 0));
    }

    #[test]
    fn who_leaves_with_a_place_in_hand_passes_it_on() {
        let turnstile = Arc::new(Turnstile::default());
        let line = line(&turnstile);
        let place = line.at_once(QUEUE, 1).unwrap();
        turnstile.wait(9);
        turnstile.wait(9);
        let (one, two) = (Waiting::join(&line, QUEUE, 1), Waiting::join(&line, QUEUE, 1));
        drop(place);
        drop(one);
        assert!(two.place().now_or_never().is_some(), "one's place");
    }

    #[test]
    fn a_core_that_has_its_share_leaves_the_place_to_others() {
        let turnstile = Arc::new(Turnstile::default());
        let (here, there) = (line(&turnstile), line(&turnstile));
        let two = Queue { concurrency: 2, buffer: 9 };
        let (first, second) = (here.at_once(two, 1).unwrap(), here.at_once(two, 1).unwrap());
        turnstile.wait(9);
        let mine = Waiting::join(&here, two, 1);
        turnstile.wait(9);
        let other = Waiting::join(&there, two, 1);
        drop(first);
        assert!(!mine.slot.given.get(), "this core has one, which is its share");
        let place = other.place().now_or_never().unwrap();
        drop(other);
        drop(second);
        assert!(mine.slot.given.get(), "nobody else waits");
        drop((mine, place));
        assert_eq!((turnstile.in_flight(), turnstile.waiting()), (0, 0));
    }
}
