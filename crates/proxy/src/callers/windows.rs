//! What the calls of one key are written down under, where a run would stand: one window for each hour at this gateway.

use super::refusals::Refusals;
use crate::Proxy;
use crate::client::Client;
use parking_lot::Mutex;
use policy::{RunId, Timestamp};
use std::sync::Arc;
use store::{ClientWindow, StoreError};
use tokio::sync::OnceCell;

const MICROS_PER_HOUR: i64 = 3_600_000_000;

/// The windows of one key.
pub(crate) struct Windows {
    gateway: Arc<str>,
    current: Mutex<Option<Window>>,
    refusals: Refusals,
}

#[derive(Clone)]
struct Window {
    hour: i64,
    id: RunId,
    written: Arc<OnceCell<()>>,
}

impl Windows {
    pub(crate) fn new(gateway: &Arc<str>) -> Self {
        Self { gateway: Arc::clone(gateway), current: Mutex::new(None), refusals: Refusals::default() }
    }

    /// The window of this hour. It is written down before the first call stands in it.
    pub(crate) async fn of(&self, proxy: &Proxy, client: &Client, app: &str, now: Timestamp) -> Result<RunId, StoreError> {
        let window = self.at(now);
        let row = || ClientWindow {
            id: window.id,
            key: client.key,
            user: client.user,
            app: app.to_owned(),
            gateway: self.gateway.to_string(),
        };
        window.written.get_or_try_init(|| proxy.store.open_client_window(row(), now)).await?;
        Ok(window.id)
    }

    /// The window that calls stand in now, if there was one.
    pub(crate) fn now(&self) -> Option<RunId> {
        self.current.lock().as_ref().map(|window| window.id)
    }

    /// Counts a refusal; true if it should be written down.
    pub(crate) fn note_refusal(&self, now: Timestamp) -> bool {
        self.refusals.count(now).is_some()
    }

    fn at(&self, now: Timestamp) -> Window {
        let hour = now.0.div_euclid(MICROS_PER_HOUR);
        let mut current = self.current.lock();
        match current.as_ref() {
            Some(window) if window.hour == hour => window.clone(),
            Some(_) | None => {
                let window = Window { hour, id: RunId::random(), written: Arc::default() };
                current.insert(window).clone()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_has_one_window() {
        let windows = Windows::new(&Arc::from("g"));
        assert_eq!(windows.now(), None);
        let first = windows.at(Timestamp(1)).id;
        assert_eq!((windows.at(Timestamp(MICROS_PER_HOUR - 1)).id, windows.now()), (first, Some(first)));
        assert_ne!(windows.at(Timestamp(MICROS_PER_HOUR)).id, first);
    }
}
