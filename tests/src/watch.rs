//! A driver that remembers what was started, so that a test can see that nothing of it is left.

use crate::processes::{Process, control_group_of, control_groups};
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use sandbox::{AgentSpec, Driver, Sandbox, SandboxError};
use std::sync::Arc;

/// A sandbox that was started.
#[derive(Clone, Debug)]
pub(crate) struct Started {
    pub(crate) id: String,
    pub(crate) made: bool,
    pub(crate) init: Option<Process>,
    pub(crate) group: Option<String>,
}

/// Passes everything on to the real driver.
pub(crate) struct Watching {
    inner: Arc<dyn Driver>,
    started: Arc<Mutex<Vec<Started>>>,
}

impl Watching {
    pub(crate) fn new(inner: Arc<dyn Driver>, started: Arc<Mutex<Vec<Started>>>) -> Self {
        Self { inner, started }
    }
}

impl Driver for Watching {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn confines(&self) -> bool {
        self.inner.confines()
    }

    fn check(&self) -> Result<(), SandboxError> {
        self.inner.check()
    }

    fn verified(&self) -> BoxFuture<'_, Result<(), SandboxError>> {
        self.inner.verified()
    }

    fn start(&self, spec: AgentSpec) -> BoxFuture<'_, Result<Sandbox, SandboxError>> {
        Box::pin(async move {
            let id = spec.id.to_string();
            let sandbox = self.inner.start(spec).await;
            let init = sandbox.as_ref().ok().and_then(|sandbox| Process::of(sandbox.init_pid));
            let group = init.and_then(control_group_of);
            self.started.lock().push(Started { id, made: sandbox.is_ok(), init, group });
            sandbox
        })
    }
}

/// What is left of sandboxes, in words.
pub(crate) fn left_of(started: &[Started]) -> Vec<String> {
    let mut left = Vec::new();
    for Started { id, init, group, .. } in started {
        if let Some(init) = init.filter(|init| init.is_alive()) {
            left.push(format!("sandbox {id}: process {} runs", init.pid));
        }
        let groups = group.iter().flat_map(|group| control_groups(group));
        left.extend(groups.map(|path| format!("sandbox {id}: {} is there", path.display())));
    }
    left
}
