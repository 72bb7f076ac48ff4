//! Who runs next, when all places are taken.
//!
//! [`Line`] is pure: start-time fair queueing. Each message gets a tag, the moment in virtual time at which its user's turn comes:
//! not before now, and not before what the same user sent earlier has had its share (tokens, divided by the user's weight). The
//! lowest tag goes first. So whoever sends many messages waits for their own, and nobody else does. [`Queue`] is the shell
//! around it: places, positions told, waiting that ends. Nothing here polls: a place that is given back is handed on at once.

use crate::Feed;
use crate::event::EventBody;
use parking_lot::Mutex;
use policy::{RunId, UserId};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

/// What a run sends to the model whatever its message says: the prompt and the tools. Counted in tokens, roughly.
const RUN_TOKENS: u64 = 1000;
const BYTES_A_TOKEN: u64 = 4;
/// Users remembered beside those that wait.
const USERS_REMEMBERED_MAX: usize = 1024;

/// The limits of waiting.
#[derive(Clone, Copy, Debug)]
pub struct QueueSettings {
    /// Runs that wait at the same time; 0 refuses whoever finds no place.
    pub waiting_max: usize,
    /// Of these, of one user.
    pub waiting_per_user_max: usize,
    /// How long one may wait.
    pub wait: Duration,
}

impl Default for QueueSettings {
    fn default() -> Self {
        Self { waiting_max: 100, waiting_per_user_max: 3, wait: Duration::from_secs(60) }
    }
}

/// Whose run it is and what it counts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turn {
    pub(crate) run: RunId,
    pub(crate) user: UserId,
    /// Of two users who both wait, one with twice the weight gets twice the share.
    pub(crate) weight: u32,
    pub(crate) tokens: u64,
}

impl Turn {
    /// What a run with this message is taken to use.
    pub(crate) fn tokens_of(message: &str) -> u64 {
        u64::try_from(message.len()).unwrap_or(u64::MAX) / BYTES_A_TOKEN + RUN_TOKENS
    }
}

/// Why there is no room in the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoRoom {
    /// As many wait as may.
    Full,
    /// As many of this user's wait as may.
    OfUser,
}

/// When a run's turn comes: the tag, and among equals the order of arrival.
type Tag = (u128, u64);

#[derive(Default)]
struct Share {
    /// When the share of what was sent so far has been had, in virtual time.
    had_at: u128,
    waiting: usize,
}

/// Those that wait, in the order in which they go.
#[derive(Default)]
struct Line {
    now: u128,
    arrived: u64,
    shares: HashMap<UserId, Share>,
    waiting: BTreeMap<Tag, (RunId, UserId)>,
}

impl Line {
    fn join(&mut self, turn: Turn, settings: &QueueSettings) -> Result<(), NoRoom> {
        if self.waiting.len() >= settings.waiting_max {
            return Err(NoRoom::Full);
        }
        if self.shares.get(&turn.user).is_some_and(|share| share.waiting >= settings.waiting_per_user_max) {
            return Err(NoRoom::OfUser);
        }
        let share = self.shares.entry(turn.user).or_default();
        let tag = self.now.max(share.had_at);
        // Of two weights the finer division must not round to the same.
        const SCALE: u128 = 1 << 32;
        share.had_at = tag.saturating_add(u128::from(turn.tokens.max(1)).saturating_mul(SCALE) / u128::from(turn.weight.max(1)));
        share.waiting += 1;
        self.arrived += 1;
        self.waiting.insert((tag, self.arrived), (turn.run, turn.user));
        Ok(())
    }

    /// The next to go.
    fn next(&mut self) -> Option<RunId> {
        let ((tag, _), (run, user)) = self.waiting.pop_first()?;
        self.now = self.now.max(tag);
        self.left(user);
        Some(run)
    }

    /// One that does not wait any more. Its share stays counted: who joins and leaves gains nothing.
    fn leave(&mut self, run: RunId) -> bool {
        let Some(tag) = self.waiting.iter().find(|(_, (waiting, _))| *waiting == run).map(|(tag, _)| *tag) else { return false };
        if let Some((_, user)) = self.waiting.remove(&tag) {
            self.left(user);
        }
        true
    }

    fn left(&mut self, user: UserId) {
        if let Some(share) = self.shares.get_mut(&user) {
            share.waiting -= 1;
        }
        // Where nobody waits nobody is ahead of anybody; and what is behind the present is no debt.
        if self.waiting.is_empty() {
            *self = Self::default();
        } else if self.shares.len() > USERS_REMEMBERED_MAX {
            self.shares.retain(|_, share| share.waiting > 0);
        } else {
            let now = self.now;
            self.shares.retain(|_, share| share.waiting > 0 || share.had_at > now);
        }
    }

    fn in_order(&self) -> impl Iterator<Item = RunId> {
        self.waiting.values().map(|(run, _)| *run)
    }
}

/// One that waits, as the shell sees it.
struct Waiting {
    feed: Feed,
    /// The position that was told last.
    told: usize,
    go: oneshot::Sender<Place>,
}

struct State {
    free: usize,
    line: Line,
    waiting: HashMap<RunId, Waiting>,
}

/// The places for runs at the same time, and who waits for one.
pub(crate) struct Queue {
    settings: QueueSettings,
    state: Mutex<State>,
}

/// One of the places. It is handed on when this is dropped.
pub(crate) struct Place(Arc<Queue>);

/// A place, or a position in the line; either is given up when this is dropped.
pub(crate) struct Ticket {
    run: RunId,
    queue: Arc<Queue>,
    held: Option<Place>,
    coming: Option<oneshot::Receiver<Place>>,
}

/// Why waiting ended without a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    Stopped,
    Expired,
}

impl Queue {
    pub(crate) fn new(places: usize, settings: QueueSettings) -> Arc<Self> {
        let state = State { free: places, line: Line::default(), waiting: HashMap::new() };
        Arc::new(Self { settings, state: Mutex::new(state) })
    }

    /// Takes a place, or joins the line; its positions are told on the feed.
    pub(crate) fn enter(self: &Arc<Self>, turn: Turn, feed: &Feed) -> Result<Ticket, NoRoom> {
        let mut state = self.state.lock();
        let mut ticket = Ticket { run: turn.run, queue: Arc::clone(self), held: None, coming: None };
        // Nobody goes past those that wait.
        if state.free > 0 {
            state.free -= 1;
            ticket.held = Some(Place(Arc::clone(self)));
            return Ok(ticket);
        }
        state.line.join(turn, &self.settings)?;
        let (go, coming) = oneshot::channel();
        state.waiting.insert(turn.run, Waiting { feed: feed.clone(), told: 0, go });
        state.tell();
        ticket.coming = Some(coming);
        Ok(ticket)
    }

    /// How many wait.
    pub(crate) fn waiting(&self) -> usize {
        self.state.lock().waiting.len()
    }
}

impl State {
    /// Tells everybody whose position changed.
    fn tell(&mut self) {
        for (index, run) in self.line.in_order().enumerate() {
            let position = index + 1;
            if let Some(waiting) = self.waiting.get_mut(&run).filter(|waiting| waiting.told != position) {
                waiting.told = position;
                waiting.feed.push(EventBody::Queued { position });
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let next = {
            let mut state = self.0.state.lock();
            let next = state.line.next().and_then(|run| state.waiting.remove(&run));
            match &next {
                Some(_) => state.tell(),
                None => state.free += 1,
            }
            next
        };
        if let Some(next) = next {
            // Who went away meanwhile gives it back by dropping it, which comes here again.
            let _ = next.go.send(Self(Arc::clone(&self.0)));
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.coming.take().is_some() {
            let mut state = self.queue.state.lock();
            if state.line.leave(self.run) {
                state.waiting.remove(&self.run);
                state.tell();
            }
        }
    }
}

impl Ticket {
    /// Waits for the place, unless it is there already.
    pub(crate) async fn wait(&mut self, stop: &CancellationToken) -> Result<(), Left> {
        let Some(coming) = &mut self.coming else { return Ok(()) };
        let place = tokio::select! {
            () = stop.cancelled() => Err(Left::Stopped),
            place = coming => place.map_err(|_| Left::Stopped),
            () = tokio::time::sleep(self.queue.settings.wait) => Err(Left::Expired),
        };
        self.held = Some(place?);
        self.coming = None;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
