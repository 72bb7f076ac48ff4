//! A few sandboxes prepared ahead of need. Whatever in a sandbox does not depend on its plan takes longer than the rest,
//! so it is done before somebody waits for it.
//!
//! Invariant: what is taken is not put back; a sandbox holds one agent in its life.

use crate::jailer::Jailer;
use crate::supervise::Control;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Two starts in a row find a prepared sandbox each. Further ones at the same moment prepare their own, as they go.
const PREPARED_MAX: usize = 2;
/// How old a prepared sandbox may become, so that what the host changed meanwhile counts.
const AGE_MAX: Duration = Duration::from_secs(60);

/// Prepared sandboxes of one jailer.
pub(crate) struct Stock {
    age_max: Duration,
    /// Dropped first: a helper that goes with its jailer waits for these.
    shelf: Mutex<Shelf>,
    jailer: Jailer,
}

#[derive(Default)]
struct Shelf {
    prepared: VecDeque<(u64, Control)>,
    next_number: u64,
    is_refilled: bool,
}

impl Stock {
    /// Empty, until the first [`Stock::refill`].
    pub(crate) fn new(jailer: Jailer) -> Arc<Self> {
        Arc::new(Self { jailer, age_max: AGE_MAX, shelf: Mutex::default() })
    }

    /// A prepared sandbox that waits for its plan, if there is one.
    pub(crate) fn take(&self) -> Option<Control> {
        while let Some((_, control)) = self.with(|shelf| shelf.prepared.pop_front()) {
            if control.is_waiting() {
                return Some(control);
            }
            self.retire(control);
        }
        None
    }

    /// Prepares what is missing, in the background. Called when a start is over, so as not to take processors from it.
    pub(crate) fn refill(self: &Arc<Self>) {
        if self.with(|shelf| std::mem::replace(&mut shelf.is_refilled, true)) {
            return;
        }
        let stock = Arc::clone(self);
        // Starting a program holds its thread up.
        tokio::task::spawn_blocking(move || {
            while stock.with(|shelf| shelf.prepared.len()) < PREPARED_MAX {
                match stock.jailer.prepare() {
                    Ok(control) => stock.shelve(control),
                    Err(error) => {
                        // Whoever starts next tries for himself, and hears of it.
                        tracing::debug!(%error, "no sandbox could be prepared");
                        break;
                    }
                }
            }
            stock.with(|shelf| shelf.is_refilled = false);
        });
    }

    fn shelve(self: &Arc<Self>, control: Control) {
        let number = self.with(|shelf| {
            shelf.next_number = shelf.next_number.wrapping_add(1);
            shelf.prepared.push_back((shelf.next_number, control));
            shelf.next_number
        });
        let (stock, age_max) = (Arc::downgrade(self), self.age_max);
        tokio::spawn(async move {
            tokio::time::sleep(age_max).await;
            let Some(stock) = stock.upgrade() else { return };
            let old = stock.with(|shelf| {
                let position = shelf.prepared.iter().position(|(known, _)| *known == number)?;
                shelf.prepared.remove(position)
            });
            if let Some((_, control)) = old {
                stock.retire(control);
                stock.refill();
            }
        });
    }

    fn retire(&self, control: Control) {
        let jailer = self.jailer.clone();
        tokio::spawn(async move { control.end(&jailer).await });
    }

    fn with<T>(&self, act: impl FnOnce(&mut Shelf) -> T) -> T {
        // A panic between the few lines of a closure leaves a list that is still a list.
        act(&mut self.shelf.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    async fn until(what: &str, mut holds: impl FnMut() -> bool) {
        for _ in 0..2000 {
            if holds() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{what} did not come true");
    }

    #[tokio::test]
    async fn what_is_prepared_is_replaced_after_a_minute() {
        assert_eq!(AGE_MAX, Duration::from_secs(60), "unless a test says otherwise");
        let own = std::env::current_exe().expect("a path");
        let jail = own.parent().and_then(Path::parent).expect("target/*/deps").join("hexward-jail");
        assert!(jail.is_file(), "{} is missing: cargo build -p jail", jail.display());
        let age_max = Duration::from_secs(1);
        let stock = Arc::new(Stock { jailer: Jailer::Program(jail), age_max, shelf: Mutex::default() });
        let prepared = || stock.with(|shelf| shelf.prepared.iter().map(|(_, control)| control.pid()).collect::<Vec<_>>());
        let begun = std::time::Instant::now();
        stock.refill();
        until("a full stock", || prepared().len() == PREPARED_MAX).await;
        let first = prepared();
        let replaced = || prepared().len() == PREPARED_MAX && prepared().iter().all(|pid| !first.contains(pid));
        until("other ones in their place", replaced).await;
        assert!(begun.elapsed() >= age_max, "not before their time");
        let is_gone = |pid: &Option<u32>| pid.is_none_or(|pid| !Path::new(&format!("/proc/{pid}")).exists());
        until("the end of the old ones", || first.iter().all(is_gone)).await;
    }
}
