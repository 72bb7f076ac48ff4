//! The one detail that is written with every call, without a tree.

use crate::{CallId, Microusd};
use serde::Serialize;

/// In the order of a tree's keys, so that both texts are the same.
#[derive(Serialize)]
pub(super) struct CallOpened<'a> {
    call: CallId,
    model: &'a str,
    reserved_microusd: Microusd,
}

impl<'a> CallOpened<'a> {
    pub(super) const fn of(call: CallId, model: &'a str, reserved_microusd: Microusd) -> Self {
        Self { call, model, reserved_microusd }
    }
}
