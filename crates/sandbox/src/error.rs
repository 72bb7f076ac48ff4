//! Why an agent does not run.

/// What can go wrong with a sandbox. The text is for operators; [`SandboxError::public`] is for people.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The agent's executable is not there or can't be executed.
    #[error("agent {path}: {reason}. Install it with `hexward agent install`, or point agent.path at it")]
    AgentMissing {
        /// Where it was looked for.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// It was replaced or written since it was verified.
    #[error(
        "{path} is not what was verified when this gateway started. If you upgraded the agent, restart the gateway; \
             otherwise find out who wrote it, and run `hexward agent install`"
    )]
    AgentChanged {
        /// Which file.
        path: String,
    },
    /// The runtime for code was replaced or written since it was verified.
    #[error(
        "{path} is not what was verified when this gateway started. If you built the runtime anew, restart the gateway; otherwise \
             find out who wrote it, and run `hexward runtime-build`"
    )]
    RuntimeChanged {
        /// Which file.
        path: String,
    },
    /// Nobody set this runtime up.
    #[error("this gateway has no runtime called {0}: is its app configured?")]
    RuntimeMissing(String),
    /// It is not what was installed, or nobody could find out.
    #[error("no agent is started: {reason}")]
    AgentUntrusted {
        /// What is wrong and what to do.
        reason: String,
    },
    /// The program that confines is not there.
    #[error("{path}: {reason}. It is built and installed beside the gateway: `cargo build -p jail`")]
    JailMissing {
        /// Where it was looked for.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The sandbox could not be built as planned.
    #[error("sandbox: {0}")]
    Build(#[from] jail::Failure),
    /// It was asked for more than its kind may have; the fault is the gateway's.
    #[error("sandbox: {0}")]
    Plan(#[from] jail::PlanFault),
    /// Speaking with the program that confines.
    #[error("sandbox: {0}")]
    Control(#[from] jail::ControlError),
    /// The process that root left behind to make sandboxes ended.
    #[error("the privileged helper is gone, and no more sandboxes can be made: restart the gateway, and find out what ended it")]
    HelperGone,
    /// A pipe or process of ours.
    #[error("sandbox: {operation}: {source}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// Direct mode on a host without namespaces, with an agent that can't be redirected without one.
    #[error(
        "direct mode: no network namespace can be had on this host ({reason}), and without one only an agent in JavaScript, run by \
             Node, can be redirected; {agent} is none. Allow user namespaces, or point agent.path at a script"
    )]
    NotRedirectable {
        /// The agent's path.
        agent: String,
        /// Why there is no namespace.
        reason: String,
    },
    /// There is no Node to run an agent in JavaScript.
    #[error("direct mode: {0} needs Node. Install it, or begin the script with its full path, as in #!/opt/node/bin/node")]
    NodeMissing(String),
    /// It took too long to build.
    #[error("the sandbox was not ready after {0} seconds")]
    Slow(u64),
    /// This host can't enforce every rule of the sandbox, and this deployment does not accept less.
    #[error("this host can't enforce every rule of the sandbox (the log names them), and production does not accept less")]
    Downgraded,
    /// What has to be read or written down before an agent may run could not be.
    #[error("the database failed before the agent could run: {0}")]
    Unrecorded(String),
    /// The agent ended when it should not have.
    #[error("the agent ended: {0}")]
    Ended(String),
}

impl SandboxError {
    /// Wraps an I/O error with what was tried.
    pub(crate) const fn io(operation: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { operation, source }
    }

    /// Whether the program itself was what failed: it does not exist inside (true), or can't be executed (false).
    #[must_use]
    pub fn program_missing(&self) -> Option<bool> {
        const NO_SUCH_FILE: i32 = 2;
        let Self::Build(failure) = self else { return None };
        (failure.step == jail::Step::Exec).then_some(failure.errno == Some(NO_SUCH_FILE))
    }

    /// A stable code for the failed run.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        self.answer().0
    }

    /// One sentence for people: no paths, no internals.
    #[must_use]
    pub const fn public(&self) -> &'static str {
        self.answer().1
    }

    const fn answer(&self) -> (&'static str, &'static str) {
        match self {
            Self::AgentMissing { .. }
            | Self::AgentChanged { .. }
            | Self::AgentUntrusted { .. }
            | Self::RuntimeChanged { .. }
            | Self::RuntimeMissing(_)
            | Self::NodeMissing(_) => {
                ("agent.missing", "The assistant is not installed on this server. The operator has to install it.")
            }
            Self::JailMissing { .. }
            | Self::Build(_)
            | Self::Plan(_)
            | Self::HelperGone
            | Self::Control(_)
            | Self::Io { .. }
            | Self::Slow(_)
            | Self::NotRedirectable { .. }
            | Self::Downgraded
            | Self::Unrecorded(_) => (
                "sandbox.unavailable",
                "A safe place for the assistant could not be set up, so it was not started. Try again, or tell the operator.",
            ),
            Self::Ended(_) => ("agent.ended", "The assistant stopped unexpectedly. Try again."),
        }
    }
}
