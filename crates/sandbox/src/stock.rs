//! A few sandboxes prepared ahead of need. Whatever in a sandbox does not depend on its plan takes longer than the rest,
//! so it is done before somebody waits for it.
//!
//! Invariant: what is taken is not put back; a sandbox holds one agent in its life.

use crate::error::SandboxError;
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
        Arc::new(Self { jailer, shelf: Mutex::default() })
    }

    /// A sandbox that waits for its plan: a prepared one, or a new one.
    pub(crate) fn take(&self) -> Result<Control, SandboxError> {
        while let Some((_, control)) = self.with(|shelf| shelf.prepared.pop_front()) {
            if control.is_waiting() {
                return Ok(control);
            }
            self.retire(control);
        }
        self.jailer.prepare()
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
        let stock = Arc::downgrade(self);
        tokio::spawn(async move {
            tokio::time::sleep(AGE_MAX).await;
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
