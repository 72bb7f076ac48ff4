//! The events of one run: written by its conductor, read by any number of pages, from any point on.

use crate::event::{Event, EventBody};
use parking_lot::Mutex;
use std::sync::Arc;
use tokio::sync::watch;

/// Events kept of one run; what an endless answer adds beyond it is not shown. The history keeps its text.
const EVENTS_MAX: usize = 100_000;

/// A log with a bell. Cheap to clone.
#[derive(Clone)]
pub struct Feed {
    events: Arc<Mutex<Vec<Event>>>,
    count: Arc<watch::Sender<usize>>,
}

impl Feed {
    pub(crate) fn new() -> Self {
        Self { events: Arc::new(Mutex::new(Vec::new())), count: Arc::new(watch::channel(0).0) }
    }

    /// A feed that holds just these, numbered from 1.
    #[must_use]
    pub fn of(bodies: Vec<EventBody>) -> Self {
        let feed = Self::new();
        bodies.into_iter().for_each(|body| feed.push(body));
        feed
    }

    /// Adds an event and wakes the readers. Nothing is added after the run's end.
    pub(crate) fn push(&self, body: EventBody) {
        let count = {
            let mut events = self.events.lock();
            let last_is_end = matches!(events.last(), Some(Event { body: EventBody::RunEnded { .. }, .. }));
            let is_end = matches!(body, EventBody::RunEnded { .. });
            if last_is_end || (events.len() >= EVENTS_MAX && !is_end) {
                return;
            }
            let seq = u64::try_from(events.len()).unwrap_or(u64::MAX).saturating_add(1);
            events.push(Event { seq, body });
            events.len()
        };
        self.count.send_replace(count);
    }

    /// Whether the run is over.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        matches!(self.events.lock().last(), Some(Event { body: EventBody::RunEnded { .. }, .. }))
    }

    /// The events after number `seen`; waits until there are some. Empty means that the run is over and all were seen.
    pub async fn after(&self, seen: u64) -> Vec<Event> {
        let mut count = self.count.subscribe();
        let seen = usize::try_from(seen).unwrap_or(usize::MAX);
        loop {
            let waiting = {
                let events = self.events.lock();
                let ended = matches!(events.last(), Some(Event { body: EventBody::RunEnded { .. }, .. }));
                let new = events.get(seen..).unwrap_or_default();
                if !new.is_empty() || ended {
                    return new.to_vec();
                }
                count.mark_unchanged();
                count.changed()
            };
            if waiting.await.is_err() {
                return Vec::new();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end() -> EventBody {
        EventBody::RunEnded { outcome: "finished", code: None, message: None, cost_microusd: 0, turns: 1, duration_ms: 1 }
    }

    #[tokio::test]
    async fn readers_see_everything_once_from_where_they_left() {
        let feed = Feed::new();
        let reader = tokio::spawn({
            let feed = feed.clone();
            async move {
                let (mut seen, mut all) = (0, Vec::new());
                loop {
                    let new = feed.after(seen).await;
                    if new.is_empty() {
                        return all;
                    }
                    seen += u64::try_from(new.len()).expect("few");
                    all.extend(new.into_iter().map(|event| event.seq));
                }
            }
        });
        for _ in 0..50 {
            feed.push(EventBody::State { state: "thinking" });
            tokio::task::yield_now().await;
        }
        feed.push(end());
        feed.push(EventBody::State { state: "late" });
        assert_eq!(reader.await.expect("the reader ends"), (1..=51).collect::<Vec<u64>>());
        assert_eq!(feed.after(50).await.len(), 1);
        assert!(feed.after(51).await.is_empty() && feed.after(u64::MAX).await.is_empty());
    }
}
