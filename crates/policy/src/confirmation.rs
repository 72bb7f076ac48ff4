//! Confirmations: what waits for a person's own yes, and for how long. Pure; the database's clock comes in as an argument.

use crate::admit_tool::permit;
use crate::{Denial, DenialCode, Manifest, RunId, Timestamp, ToolClass, ToolEffect, ToolListed, ToolPermit, ToolRequest, UserId};

/// Questions that may wait for one person. Who is asked more than that stops reading.
pub const CONFIRMATIONS_PENDING_MAX: i64 = 3;
/// How long a question waits for its answer.
pub const CONFIRMATION_SECS: i64 = 300;
/// Nobody has read what they agree to sooner than this; a click that was meant for something else comes in this time.
pub const CONFIRMATION_UNREAD_MICROS: i64 = 700_000;

/// Where a confirmation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfirmationState {
    /// Nobody has answered.
    Pending,
    /// Its owner said yes, and it did not begin yet.
    Approved,
    /// Its owner said no.
    Denied,
    /// Nobody answered in time.
    Expired,
    /// The call is being made.
    Executing,
    /// The tool did it.
    Done,
    /// It was not done.
    Failed,
    /// Nobody knows. Never repeated.
    Uncertain,
}

/// What happens to a confirmation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfirmationStep {
    /// Its owner says yes.
    Approve,
    /// Its owner says no.
    Deny,
    /// Its time is over.
    Expire,
    /// The call begins.
    Begin,
    /// The call, or the attempt to begin it, came out: done, failed or uncertain.
    End(ConfirmationState),
}

/// Why an answer was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfirmationFault {
    /// Sooner than anybody can have read it.
    #[error("too early")]
    Early,
    /// Too late.
    #[error("its time is over")]
    Expired,
    /// It was answered before.
    #[error("it was answered before")]
    Decided(ConfirmationState),
    /// Not a way from one state to another.
    #[error("no such step")]
    Step,
}

impl ConfirmationState {
    /// Every state.
    pub const ALL: [Self; 8] =
        [Self::Pending, Self::Approved, Self::Denied, Self::Expired, Self::Executing, Self::Done, Self::Failed, Self::Uncertain];

    /// As it is kept and shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Denied => "denied",
            Self::Expired => "expired",
            Self::Executing => "executing",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Uncertain => "uncertain",
        }
    }

    /// The state that a word stands for.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }

    /// Whether nothing follows.
    #[must_use]
    pub const fn is_over(self) -> bool {
        match self {
            Self::Pending | Self::Approved | Self::Executing => false,
            Self::Denied | Self::Expired | Self::Done | Self::Failed | Self::Uncertain => true,
        }
    }

    /// The state after a step.
    ///
    /// # Errors
    /// [`ConfirmationFault::Decided`] for an answer that comes after another one, [`ConfirmationFault::Step`] for what can't follow.
    pub const fn after(self, step: ConfirmationStep) -> Result<Self, ConfirmationFault> {
        use ConfirmationStep::{Approve, Begin, Deny, End, Expire};
        match (self, step) {
            (Self::Pending, Approve) => Ok(Self::Approved),
            (Self::Pending, Deny) => Ok(Self::Denied),
            (Self::Pending, Expire) => Ok(Self::Expired),
            (Self::Expired, Approve | Deny) => Err(ConfirmationFault::Expired),
            (state, Approve | Deny) => Err(ConfirmationFault::Decided(state)),
            (Self::Approved, Begin) => Ok(Self::Executing),
            // What was approved may turn out not to be allowed any more.
            (Self::Approved, End(Self::Failed)) => Ok(Self::Failed),
            (Self::Executing, End(end @ (Self::Done | Self::Failed | Self::Uncertain))) => Ok(end),
            _ => Err(ConfirmationFault::Step),
        }
    }
}

/// The moments of a confirmation, by the database's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConfirmationTimes {
    /// When it was asked.
    pub created_at: Timestamp,
    /// When its owner's browser was first given it.
    pub shown_at: Option<Timestamp>,
    /// When it is over.
    pub expires_at: Timestamp,
}

/// Takes a person's answer, or says why not. A no is taken at once; a yes only when there was time to read.
///
/// # Errors
/// [`ConfirmationFault`].
pub fn answer_confirmation(
    state: ConfirmationState,
    times: ConfirmationTimes,
    approve: bool,
    now: Timestamp,
) -> Result<ConfirmationState, ConfirmationFault> {
    let next = state.after(if approve { ConfirmationStep::Approve } else { ConfirmationStep::Deny })?;
    if now >= times.expires_at {
        return Err(ConfirmationFault::Expired);
    }
    let shown_at = times.shown_at.unwrap_or(times.created_at).max(times.created_at);
    if approve && now < shown_at.plus_micros(CONFIRMATION_UNREAD_MICROS) {
        return Err(ConfirmationFault::Early);
    }
    Ok(next)
}

/// A call that its owner said yes to, as it was kept.
#[derive(Clone, Debug)]
pub struct ConfirmedCall {
    /// The run, or the remote caller's window.
    pub run: RunId,
    /// Whose.
    pub user: UserId,
    /// The tool.
    pub tool: String,
    /// The digest of the canonical arguments that were shown.
    pub arguments_digest: [u8; 32],
    /// What the tool was then.
    pub class: String,
    /// Its definition then.
    pub definition: [u8; 32],
    /// Whether changes were switched on where it was asked.
    pub writes: bool,
}

/// Permission to make one call that was confirmed, used up by `store.begin_confirmed`.
#[derive(Debug)]
pub struct ConfirmedPermit(ToolPermit);

impl ConfirmedPermit {
    /// The permit, for the one who uses it up.
    #[must_use]
    pub fn into_permit(self) -> ToolPermit {
        self.0
    }
}

/// Decides once more, when a yes has come: what was allowed then may not be now.
///
/// # Errors
/// The [`Denial`]: the tool is gone or held, it became another one, or changes were off.
pub fn admit_confirmed(call: ConfirmedCall, manifest: &Manifest, listed: ToolListed) -> Result<ConfirmedPermit, Denial> {
    let denied = |code| Err(Denial::new(code, &call.tool));
    let Some(rule) = manifest.tools.get(&call.tool) else { return denied(DenialCode::ToolUnknown) };
    if listed.held {
        return denied(DenialCode::ToolHeld);
    }
    let class = rule.class(listed.hints);
    if class.word() != call.class || listed.definition != call.definition {
        return denied(DenialCode::ConfirmationStale);
    }
    if class.effect == ToolEffect::Write && !call.writes {
        return denied(DenialCode::ToolWriteOff);
    }
    let ConfirmedCall { run, user, tool, arguments_digest, .. } = call;
    let request = ToolRequest {
        tool,
        arguments_digest,
        emitted: true,
        honest: true,
        listed,
        ask_for_writes: false,
        strange_argument: None,
    };
    Ok(ConfirmedPermit(permit(request, run, user, class)))
}

/// A call that is allowed once its owner has confirmed it. Used up by `store.ask`.
#[derive(Debug)]
pub struct ToolQuestion {
    pub(crate) request: ToolRequest,
    pub(crate) run: RunId,
    pub(crate) user: UserId,
    pub(crate) class: ToolClass,
    pub(crate) writes: bool,
}

impl ToolQuestion {
    /// What was asked for.
    #[must_use]
    pub const fn request(&self) -> &ToolRequest {
        &self.request
    }
    /// In which run or remote caller's window.
    #[must_use]
    pub const fn run(&self) -> RunId {
        self.run
    }
    /// Who has to confirm it.
    #[must_use]
    pub const fn user(&self) -> UserId {
        self.user
    }
    /// What the tool may do.
    #[must_use]
    pub const fn class(&self) -> ToolClass {
        self.class
    }
    /// Whether changes are switched on.
    #[must_use]
    pub const fn writes(&self) -> bool {
        self.writes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ConfirmationState::{Approved, Denied, Done, Executing, Expired, Failed, Pending, Uncertain};
    use ConfirmationStep::{Approve, Begin, Deny, End, Expire};
    use proptest::prelude::*;

    #[test]
    fn each_state_has_its_steps_and_no_others() {
        let mut ways = Vec::new();
        for from in ConfirmationState::ALL {
            assert_eq!(ConfirmationState::from_word(from.as_str()), Some(from));
            let ends = ConfirmationState::ALL.map(End);
            for step in [Approve, Deny, Expire, Begin].into_iter().chain(ends) {
                ways.extend(from.after(step).ok().map(|to| (from, to)));
            }
        }
        let meant = [
            (Pending, Approved),
            (Pending, Denied),
            (Pending, Expired),
            (Approved, Executing),
            (Approved, Failed),
            (Executing, Done),
            (Executing, Failed),
            (Executing, Uncertain),
        ];
        assert_eq!(ways, meant);
        assert!(ways.iter().all(|(from, _)| !from.is_over()), "what is over stays as it is");
        assert_eq!(ConfirmationState::from_word("approve"), None);
    }

    const TIMES: ConfirmationTimes =
        ConfirmationTimes { created_at: Timestamp(1_000_000), shown_at: None, expires_at: Timestamp(301_000_000) };

    #[test]
    fn a_yes_needs_time_to_read_and_both_come_in_time() {
        let at = |approve, now| answer_confirmation(Pending, TIMES, approve, Timestamp(now));
        assert_eq!(at(true, 1_699_999), Err(ConfirmationFault::Early));
        assert_eq!(at(true, 1_700_000), Ok(Approved));
        assert_eq!(at(true, 300_999_999), Ok(Approved));
        assert_eq!(at(true, 301_000_000), Err(ConfirmationFault::Expired));
        assert_eq!((at(false, 1_000_000), at(false, 301_000_000)), (Ok(Denied), Err(ConfirmationFault::Expired)));
        // First shown a minute later: the time to read begins there.
        let late = ConfirmationTimes { shown_at: Some(Timestamp(61_000_000)), ..TIMES };
        assert_eq!(answer_confirmation(Pending, late, true, Timestamp(61_699_999)), Err(ConfirmationFault::Early));
        assert_eq!(answer_confirmation(Pending, late, true, Timestamp(61_700_000)), Ok(Approved));
        for over in [Approved, Denied, Executing, Done, Failed, Uncertain] {
            assert_eq!(answer_confirmation(over, TIMES, true, Timestamp(2_000_000)), Err(ConfirmationFault::Decided(over)));
        }
        assert_eq!(answer_confirmation(Expired, TIMES, true, Timestamp(2_000_000)), Err(ConfirmationFault::Expired));
    }

    proptest! {
        /// Nothing is approved before it could be read, after its end, or twice.
        #[test]
        fn a_yes_is_taken_in_its_window_only(state in 0_usize..8, shown in proptest::option::of(0_i64..400_000_000), now in 0_i64..400_000_000) {
            let state = ConfirmationState::ALL.get(state).copied().unwrap_or(Pending);
            let times = ConfirmationTimes { shown_at: shown.map(Timestamp), ..TIMES };
            if answer_confirmation(state, times, true, Timestamp(now)) == Ok(Approved) {
                prop_assert_eq!(state, Pending);
                prop_assert!(now >= 1_700_000 && now >= shown.unwrap_or(0) + 700_000 && now < 301_000_000);
            }
        }
    }

    fn manifest(delete: &str) -> Manifest {
        let head = "id='a'\ntitle='A'\ngreeting='g'\n[agent]\nmodel='m'\n[mcp]\nname='a'\nserver='builtin'\n[tools.delete]\n";
        Manifest::parse(&format!("{head}{delete}")).expect("a manifest")
    }

    #[test]
    fn what_was_confirmed_has_to_be_what_it_was() {
        let delete = manifest("effect='write'\nopen_world=false");
        let call = |writes| ConfirmedCall {
            run: RunId::random(),
            user: UserId::random(),
            tool: "delete".to_owned(),
            arguments_digest: [3; 32],
            class: "write destructive".to_owned(),
            definition: [7; 32],
            writes,
        };
        let listed = ToolListed { definition: [7; 32], ..ToolListed::default() };
        let code = |call, manifest: &Manifest, listed| admit_confirmed(call, manifest, listed).map_err(|denial| denial.code);
        let permit = code(call(true), &delete, listed).expect("nothing has changed").into_permit();
        assert_eq!((permit.request().arguments_digest, permit.class().word()), ([3; 32], "write destructive"));
        let refused = |call, manifest: &Manifest, listed| code(call, manifest, listed).expect_err("it has changed");
        assert_eq!(refused(call(false), &delete, listed), DenialCode::ToolWriteOff);
        assert_eq!(refused(call(true), &delete, ToolListed { held: true, ..listed }), DenialCode::ToolHeld);
        assert_eq!(refused(call(true), &delete, ToolListed { definition: [8; 32], ..listed }), DenialCode::ConfirmationStale);
        let open = crate::ToolHints { open_world: Some(true), ..crate::ToolHints::default() };
        assert_eq!(refused(call(true), &delete, ToolListed { hints: open, ..listed }), DenialCode::ConfirmationStale);
        assert_eq!(refused(call(true), &manifest("effect='write'"), listed), DenialCode::ConfirmationStale);
        let gone = ConfirmedCall { tool: "wipe".to_owned(), ..call(true) };
        assert_eq!(refused(gone, &delete, listed), DenialCode::ToolUnknown);
    }
}
