//! What is written down for later: one closed list of events.

use crate::{
    CallId, ConfirmationId, ConversationId, Denial, DenialCode, KeyFault, KeyId, Microusd, RunId, SandboxId, SliceId, Timestamp,
    UserId,
};

/// Something that happened and must be provable. No prompt text, no tool content, no secret.
#[derive(Clone, Debug)]
pub enum AuditEvent {
    /// A run began.
    RunBegan {
        /// The run.
        run: RunId,
        /// Whose.
        user: UserId,
        /// In which chat.
        conversation: ConversationId,
        /// Whether changes were switched on.
        writes: bool,
    },
    /// A run ended.
    RunEnded {
        /// The run.
        run: RunId,
        /// `finished`, `failed` or `stopped`.
        outcome: &'static str,
        /// The code of a failure.
        code: Option<String>,
    },
    /// A sandbox was claimed for a run.
    SandboxClaimed {
        /// The sandbox.
        sandbox: SandboxId,
        /// The run.
        run: RunId,
    },
    /// Money was reserved for model calls that were about to leave: what one run or window opened since the last entry.
    ModelCallsOpened {
        /// The calls, in order.
        calls: Vec<CallId>,
        /// The run or the remote caller's window.
        run: RunId,
        /// The model asked for.
        model: String,
        /// The reservations together.
        reserved: Microusd,
    },
    /// A slice was taken out of every budget above a run, or made larger.
    SliceTaken {
        /// The slice.
        slice: SliceId,
        /// The run or the remote caller's window.
        run: RunId,
        /// By how much.
        granted: Microusd,
    },
    /// A call cost more than its ceiling; it is charged all the same.
    AboveCeiling {
        /// The call.
        call: CallId,
        /// The run.
        run: RunId,
        /// The ceiling.
        reserved: Microusd,
        /// The measured cost.
        cost: Microusd,
    },
    /// A tool call is about to be made.
    ToolCallOpened {
        /// The call.
        call: CallId,
        /// The run.
        run: RunId,
        /// The tool.
        tool: String,
        /// The digest of its canonical arguments, hexadecimal.
        arguments: String,
    },
    /// A person's own call of a tool is about to be made: no agent and no run is in it.
    PersonCallOpened {
        /// The call.
        call: CallId,
        /// Whose.
        user: UserId,
        /// Of which app.
        app: String,
        /// The tool.
        tool: String,
        /// The digest of its arguments, hexadecimal.
        arguments: String,
    },
    /// What a call did is about to be undone, or done again.
    UndoOpened {
        /// The journal's entry of the undo.
        call: CallId,
        /// The agent's call that it is about.
        undoes: CallId,
        /// The run of that call.
        run: RunId,
        /// Whose.
        user: UserId,
        /// The tool that does it.
        tool: String,
        /// Whether it is done again.
        redo: bool,
        /// `person` or `operator`.
        by: &'static str,
    },
    /// An undo came back.
    UndoEnded {
        /// The journal's entry of the undo.
        call: CallId,
        /// The run of the call that it is about.
        run: RunId,
        /// `done`, `failed` or `uncertain`.
        outcome: &'static str,
    },
    /// A person is asked whether a call may be made.
    ConfirmationAsked {
        /// The question.
        confirmation: ConfirmationId,
        /// The run.
        run: RunId,
        /// The tool.
        tool: String,
        /// The digest of its canonical arguments, hexadecimal.
        arguments: String,
    },
    /// What became of such a question.
    ConfirmationEnded {
        /// The question.
        confirmation: ConfirmationId,
        /// The run.
        run: RunId,
        /// `approved`, `denied`, `expired`, `executing`, `done`, `failed`, `uncertain`.
        state: &'static str,
        /// The journal's entry, where the call was made.
        call: Option<CallId>,
    },
    /// A tool's definition is not the one that was agreed to; it is not used until an operator agrees.
    ToolHeld {
        /// The app.
        app: String,
        /// The tool.
        tool: String,
        /// The digest of the new definition, hexadecimal.
        definition: String,
    },
    /// An operator agreed to a tool's new definition.
    ToolReviewed {
        /// The app.
        app: String,
        /// The tool.
        tool: String,
        /// The digest of the definition, hexadecimal.
        definition: String,
    },
    /// Something was refused.
    Denied {
        /// In which run, if any.
        run: Option<RunId>,
        /// The refusal.
        denial: Denial,
    },
    /// What somebody's agents do became more unusual than before.
    ConductRose {
        /// In which run.
        run: RunId,
        /// Whose.
        user: UserId,
        /// `hasty`, `suspicious` or `hostile`.
        conduct: &'static str,
    },
    /// The person was asked whether the run shall go on.
    ChallengeEnded {
        /// In which run.
        run: RunId,
        /// Whose.
        user: UserId,
        /// What they said; none is that nobody answered.
        goes_on: Option<bool>,
    },
    /// A key for remote callers was made.
    KeyCreated {
        /// The key.
        key: KeyId,
        /// Whose calls it makes.
        user: UserId,
        /// Its name.
        name: String,
    },
    /// A key ends.
    KeyRevoked {
        /// The key.
        key: KeyId,
        /// From when on; in the future after a rotation with grace.
        at: Timestamp,
    },
    /// A key for tools is used for the first time in an hour: what stands where a run would begins.
    ClientWindow {
        /// Stands where a run would.
        window: RunId,
        /// The key.
        key: KeyId,
        /// Whose client it is.
        user: UserId,
    },
    /// A remote caller was not let in.
    CallerRefused {
        /// Why.
        fault: KeyFault,
        /// The key, where one was shown that exists.
        key: Option<KeyId>,
        /// The address the connection came from.
        peer: Option<String>,
        /// How many refusals before this one were not written down, because there were too many.
        unwritten: u64,
    },
    /// A key's calls came too often.
    RateRefused {
        /// The key.
        key: KeyId,
        /// Which limit was reached.
        code: DenialCode,
        /// How many such refusals before this one were not written down.
        unwritten: u64,
    },
    /// A request of a host application's back end was refused, after its key was found good.
    HostRefused {
        /// The key.
        key: KeyId,
        /// Why.
        code: DenialCode,
        /// How many such refusals before this one were not written down.
        unwritten: u64,
    },
    /// A sandbox ended that had tried ports which nobody listens on. They refuse by themselves, so only their number is known.
    PortsRefused {
        /// The sandbox.
        sandbox: SandboxId,
        /// TCP connections.
        tcp: u64,
        /// Datagrams.
        udp: u64,
    },
    /// What became of a webhook that was not taken.
    Webhook {
        /// The delivery.
        delivery: String,
        /// `host/endpoint`.
        endpoint: String,
        /// `dead` or `retried`.
        outcome: &'static str,
    },
    /// Everything of a user was erased.
    UserErased {
        /// Who it was.
        user: UserId,
        /// The host's key that asked for it, where one did.
        key: Option<KeyId>,
    },
    /// What is kept of a user was handed out.
    UserExported {
        /// Whose.
        user: UserId,
        /// The host's key that asked for it.
        key: KeyId,
    },
    /// A share of a budget was used up for the first time in its period.
    BudgetAlert {
        /// The account.
        scope: String,
        /// Its period.
        period: i64,
        /// The share, in percent.
        percent: u8,
        /// The budget.
        limit: Microusd,
        /// What was spent then.
        spent: Microusd,
    },
}
