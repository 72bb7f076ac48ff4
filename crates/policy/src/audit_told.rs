//! How what happened is written down: its name, its run, and the rest.

use crate::{AuditEvent, RunId};
use serde_json::{Value, json};

impl AuditEvent {
    /// A stable name.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::RunBegan { .. } => "run.began",
            Self::RunEnded { .. } => "run.ended",
            Self::SandboxClaimed { .. } => "sandbox.claimed",
            Self::ModelCallsOpened { .. } => "model_call.opened",
            Self::SliceTaken { .. } => "slice.taken",
            Self::AboveCeiling { .. } => "model_call.above_ceiling",
            Self::ToolCallOpened { .. } => "tool_call.opened",
            Self::PersonCallOpened { .. } => "person_call.opened",
            Self::UndoOpened { .. } => "undo.opened",
            Self::UndoEnded { .. } => "undo.ended",
            Self::ConfirmationAsked { .. } => "confirmation.asked",
            Self::ConfirmationEnded { .. } => "confirmation.ended",
            Self::ToolHeld { .. } => "tool.held",
            Self::ToolReviewed { .. } => "tool.reviewed",
            Self::Denied { .. } => "denied",
            Self::ConductRose { .. } => "conduct.rose",
            Self::ChallengeEnded { .. } => "challenge.ended",
            Self::KeyCreated { .. } => "key.created",
            Self::KeyRevoked { .. } => "key.revoked",
            Self::ClientWindow { .. } => "client.window",
            Self::CallerRefused { .. } => "caller.refused",
            Self::RateRefused { .. } => "rate.refused",
            Self::HostRefused { .. } => "host.refused",
            Self::PortsRefused { .. } => "ports.refused",
            Self::Webhook { .. } => "webhook",
            Self::UserErased { .. } => "user.erased",
            Self::UserExported { .. } => "user.exported",
            Self::BudgetAlert { .. } => "budget.alert",
        }
    }

    /// Which run it belongs to.
    #[must_use]
    pub const fn run(&self) -> Option<RunId> {
        match self {
            Self::RunBegan { run, .. }
            | Self::RunEnded { run, .. }
            | Self::SandboxClaimed { run, .. }
            | Self::ModelCallsOpened { run, .. }
            | Self::SliceTaken { run, .. }
            | Self::AboveCeiling { run, .. }
            | Self::ToolCallOpened { run, .. }
            | Self::ConductRose { run, .. }
            | Self::ChallengeEnded { run, .. }
            | Self::UndoOpened { run, .. }
            | Self::UndoEnded { run, .. }
            | Self::ConfirmationAsked { run, .. }
            | Self::ConfirmationEnded { run, .. } => Some(*run),
            Self::ClientWindow { window, .. } => Some(*window),
            Self::Denied { run, .. } => *run,
            Self::PersonCallOpened { .. }
            | Self::ToolHeld { .. }
            | Self::ToolReviewed { .. }
            | Self::KeyCreated { .. }
            | Self::KeyRevoked { .. }
            | Self::CallerRefused { .. }
            | Self::RateRefused { .. }
            | Self::HostRefused { .. }
            | Self::PortsRefused { .. }
            | Self::Webhook { .. }
            | Self::UserErased { .. }
            | Self::UserExported { .. }
            | Self::BudgetAlert { .. } => None,
        }
    }

    /// The rest, as JSON.
    #[must_use]
    pub fn detail(&self) -> Value {
        match self {
            Self::RunBegan { user, conversation, writes, .. } => {
                json!({"user": user, "conversation": conversation, "writes": writes})
            }
            Self::RunEnded { outcome, code, .. } => json!({"outcome": outcome, "code": code}),
            Self::SandboxClaimed { sandbox, .. } => json!({"sandbox": sandbox}),
            Self::ModelCallsOpened { calls, model, reserved, .. } => {
                json!({"calls": calls, "model": model, "reserved_microusd": reserved})
            }
            Self::SliceTaken { slice, granted, .. } => json!({"slice": slice, "granted_microusd": granted}),
            Self::AboveCeiling { call, reserved, cost, .. } => {
                json!({"call": call, "reserved_microusd": reserved, "cost_microusd": cost})
            }
            Self::ToolCallOpened { call, tool, arguments, .. } => {
                json!({"call": call, "tool": tool, "arguments_sha256": arguments})
            }
            Self::PersonCallOpened { call, user, app, tool, arguments } => {
                json!({"call": call, "user": user, "app": app, "tool": tool, "arguments_sha256": arguments})
            }
            Self::UndoOpened { call, undoes, user, tool, redo, by, .. } => {
                json!({"call": call, "undoes": undoes, "user": user, "tool": tool, "redo": redo, "by": by})
            }
            Self::UndoEnded { call, outcome, .. } => json!({"call": call, "outcome": outcome}),
            Self::ConfirmationAsked { confirmation, tool, arguments, .. } => {
                json!({"confirmation": confirmation, "tool": tool, "arguments_sha256": arguments})
            }
            Self::ConfirmationEnded { confirmation, state, call, .. } => {
                json!({"confirmation": confirmation, "state": state, "call": call})
            }
            Self::ToolHeld { app, tool, definition } | Self::ToolReviewed { app, tool, definition } => {
                json!({"app": app, "tool": tool, "definition_sha256": definition})
            }
            Self::Denied { denial, .. } => json!({"code": denial.code.as_str(), "wanted": denial.wanted}),
            Self::ConductRose { user, conduct, .. } => json!({"user": user, "conduct": conduct}),
            Self::ChallengeEnded { user, goes_on, .. } => json!({"user": user, "goes_on": goes_on}),
            Self::KeyCreated { key, user, name } => json!({"key": key, "user": user, "name": name}),
            Self::KeyRevoked { key, at } => json!({"key": key, "at": at}),
            Self::ClientWindow { key, user, .. } => json!({"key": key, "user": user}),
            Self::CallerRefused { fault, key, peer, unwritten } => {
                json!({"fault": fault.as_str(), "key": key, "peer": peer, "unwritten": unwritten})
            }
            Self::RateRefused { key, code, unwritten } | Self::HostRefused { key, code, unwritten } => {
                json!({"key": key, "code": code.as_str(), "unwritten": unwritten})
            }
            Self::PortsRefused { sandbox, tcp, udp } => json!({"sandbox": sandbox, "tcp": tcp, "udp": udp}),
            Self::Webhook { delivery, endpoint, outcome } => {
                json!({"delivery": delivery, "endpoint": endpoint, "outcome": outcome})
            }
            Self::UserErased { user, key } => json!({"user": user, "key": key}),
            Self::UserExported { user, key } => json!({"user": user, "key": key}),
            Self::BudgetAlert { scope, period, percent, limit, spent } => {
                json!({"scope": scope, "period": period, "percent": percent, "limit_microusd": limit, "spent_microusd": spent})
            }
        }
    }
}
