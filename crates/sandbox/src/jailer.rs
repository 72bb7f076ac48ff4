//! Who makes the supervisors of sandboxes: this process itself, with the rights it has, or a helper that has more.

use crate::error::SandboxError;
use crate::supervise::Control;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;

/// Makes sandboxes that wait for their plan, or their order.
#[derive(Clone, Debug)]
pub(crate) enum Jailer {
    /// `hexward-jail`, started for each sandbox.
    Program(PathBuf),
    /// One that runs already.
    Helper(Arc<jail::Helper>),
}

impl Jailer {
    /// A new sandbox. What does not depend on its plan is prepared from now on.
    pub(crate) fn prepare(&self) -> Result<Control, SandboxError> {
        match self {
            Self::Program(program) => Control::spawn(program),
            Self::Helper(helper) => {
                let made = helper.sandbox();
                if let Err(jail::ControlError::Closed) = made {
                    return Err(SandboxError::HelperGone);
                }
                Control::connected(made?)
            }
        }
    }

    /// Removes what killed supervisors left behind; sandboxes that are guarded are not touched.
    pub(crate) async fn sweep(&self) {
        match self {
            Self::Program(program) => sweep_by(program).await,
            Self::Helper(helper) => {
                if let Err(error) = sweep_of(helper).await {
                    tracing::warn!(%error, "the privileged helper could not be asked to sweep");
                }
            }
        }
    }
}

async fn sweep_by(program: &std::path::Path) {
    let swept = tokio::process::Command::from(jail::sweep_command(program)).output().await;
    match swept {
        Ok(output) if output.status.success() => {
            let ids = String::from_utf8_lossy(&output.stdout);
            for id in ids.lines() {
                tracing::warn!(sandbox = id, "removed what was left of a sandbox");
            }
        }
        Ok(output) => tracing::warn!(status = %output.status, "what old sandboxes left could not be removed"),
        // A missing program is said clearly as soon as an agent is to be started.
        Err(error) => tracing::debug!(%error, "the jail could not be asked to sweep"),
    }
}

/// The helper says in the log itself what it removed.
async fn sweep_of(helper: &jail::Helper) -> Result<(), SandboxError> {
    let over = helper.sweep()?;
    over.set_nonblocking(true).map_err(SandboxError::io("sweep"))?;
    let mut over = UnixStream::from_std(over).map_err(SandboxError::io("sweep"))?;
    over.read(&mut [0]).await.map(|_| ()).map_err(SandboxError::io("sweep"))
}
