//! A denial is not an error: it is an answer, with a stable code and one public sentence that says what to do.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Whose move it is after a denial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// The one who asked.
    Caller,
    /// A limit the operator set.
    Limit,
}

macro_rules! codes {
    ($($(#[$meta:meta])* $name:ident = $code:literal, $fault:ident, $sentence:literal;)*) => {
        /// Stable codes: clients and alerts may match on them, so they never change their meaning.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum DenialCode { $($(#[$meta])* $name,)* }

        impl DenialCode {
            /// Every code, for the documentation and its test.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The code as it stands on the wire.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }

            /// The public sentence: what happened and what to do.
            #[must_use]
            pub const fn sentence(self) -> &'static str {
                match self { $(Self::$name => $sentence,)* }
            }

            /// Whose move it is.
            #[must_use]
            pub const fn fault(self) -> Fault {
                match self { $(Self::$name => Fault::$fault,)* }
            }
        }
    };
}

codes! {
    /// No run is bound to the sandbox that asks.
    RunNone = "run.none", Caller, "No request is being worked on, so nothing may be reached. Send a message first.";
    /// The run's wall clock is over.
    RunDeadline = "run.deadline", Limit, "This request took longer than allowed and was stopped. Ask for less at a time.";
    /// The run made as many model calls as it may.
    RunTurns = "run.turns", Limit, "This request needed more steps than allowed and was stopped. Ask for less at a time.";
    /// The run's money is used up.
    BudgetRun = "budget.run", Limit, "This request reached its spending limit and was stopped. Send a new message to go on.";
    /// The day's budget is used up.
    BudgetDay = "budget.day", Limit, "The spending limit for today (UTC) is reached. Try again tomorrow, or ask the operator to raise it.";
    /// What one person may spend on one day is used up.
    BudgetUser = "budget.user", Limit, "Your own spending limit for today is reached. A new day begins at 00:00 UTC; try again then.";
    /// What a tier's people together may spend on one day is used up.
    BudgetTier = "budget.tier", Limit, "The spending limit of your plan for today is reached. A new day begins at 00:00 UTC; try again then.";
    /// What may be spent with one app on one day is used up.
    BudgetApp = "budget.app", Limit, "The spending limit of this application for today is reached. A new day begins at 00:00 UTC; try again then.";
    /// What a host application's users together may spend on one day is used up.
    BudgetHost = "budget.host", Limit, "The spending limit of this service for today is reached. A new day begins at 00:00 UTC; try again then.";
    /// A prompt that is larger than allowed.
    ModelContext = "model.context", Caller, "The conversation is longer than allowed here. Start a new one, or send less.";
    /// A model that is not on the list.
    ModelName = "model.name", Caller, "This model is not allowed here. Use the model the application was set up with.";
    /// A path of the model API that no agent needs.
    ModelPath = "model.path", Caller, "This path of the model API is not available here.";
    /// A feature by which the provider would fetch or send data for the caller.
    ModelFeature = "model.feature", Caller, "This feature of the model API is not available here.";
    /// Not the conversation as it was.
    ModelConversation = "model.conversation", Caller, "What the assistant sent to the model is not the conversation as it was, so it was stopped. Send your message again.";
    /// More output than allowed.
    ModelOutput = "model.output", Caller, "max_tokens is above what is allowed here. Ask for fewer output tokens.";
    /// A model or path that a remote caller's key is not for.
    KeyScope = "key.scope", Caller, "This key is not for this model or path. Use what it was made for, or ask the operator for another key.";
    /// An app or a tool that a person's key is not for.
    KeyTool = "key.tool", Caller, "This key is not for this tool. Use what it was made for, or make another key.";
    /// A change, with a key that may only read.
    KeyReadOnly = "key.read_only", Caller, "This key may only read. Make the change on the page, or make a key that may ask for changes.";
    /// A remote caller made as many requests as its key allows.
    KeyRequests = "key.requests", Limit, "As many requests as allowed were made with this key in this hour (UTC). Try again in the next one.";
    /// More model calls at once than the gateway makes, and the wait for one to end was too long.
    ModelBusy = "model.busy", Limit, "Too many requests are being worked on at once. Try again in a moment.";
    /// Every provider of the model failed lately, or asked for a pause.
    UpstreamUnavailable = "upstream.unavailable", Limit, "The model provider is not available at the moment. Nothing was charged; try again in a moment.";
    /// A tool the app does not have.
    ToolUnknown = "tool.unknown", Caller, "The application has no such tool.";
    /// The model did not ask for this call.
    ToolNotEmitted = "tool.not_emitted", Caller, "The model did not ask for this tool call in this request, so it was not run.";
    /// The model asked for this change, but not in the conversation with the person.
    ToolInduced = "tool.induced", Caller, "The model asked for this change outside of the conversation with the person, so it was not made.";
    /// A value that comes from where the app's rules don't say.
    ToolArgument = "tool.argument", Caller, "A value in this tool call is neither the person's nor on the application's list, so the call was not made. Ask the person to write it in a message.";
    /// Arguments that do not fit the tool's schema.
    ToolInput = "tool.input", Caller, "The arguments of this tool call do not fit the tool's schema, so it was not called. The model is told what to correct.";
    /// A schema of a tool that can't be used.
    ToolSchema = "tool.schema", Caller, "The application describes this tool's arguments in a way that can't be checked, so the tool is not used. The operator finds the reason in the log.";
    /// Writes are switched off.
    ToolWriteOff = "tool.write_off", Caller, "Changes are switched off for this message. Switch on \"Allow changes\" and send it again.";
    /// A change whose way back the app does not offer any more.
    UndoInverse = "undo.inverse", Caller, "The application offers no way back from this change, so it can't be undone here.";
    /// Undoing while an agent is changing things.
    UndoActive = "undo.active", Caller, "The assistant is still changing things in this conversation. Wait for it, or stop it first.";
    /// Two undos at once.
    UndoBusy = "undo.busy", Caller, "Something of yours is being undone right now. Wait for it, and look at what came of it.";
    /// A person undid and did again as often as they may.
    UndoRate = "undo.rate", Limit, "You have undone and done again as much as you may for now. Wait a minute.";
    /// The tool is not the one that was seen first, and no operator has looked at the difference.
    ToolHeld = "tool.held", Caller, "This tool's definition has changed, so it can't be used until the operator has reviewed it.";
    /// As many questions as may wait for this person already.
    ConfirmationFull = "confirmation.full", Limit, "Three actions already wait for your confirmation, so this one was not asked. Answer those first, then ask again.";
    /// The person said no.
    ConfirmationDenied = "confirmation.denied", Caller, "The person was asked and said no, so nothing was done. Don't try it again or in another way; ask what they want instead.";
    /// Nobody answered in time.
    ConfirmationExpired = "confirmation.expired", Limit, "Nobody confirmed this in time, so nothing was done. Ask for it again if it is still wanted.";
    /// The tool or its rules are not what they were when the person was asked.
    ConfirmationStale = "confirmation.stale", Caller, "The tool or its rules have changed since this was asked, so it was not done. Ask for it again.";
    /// The application does not say what a call would do.
    ConfirmationUnknown = "confirmation.unknown", Caller, "The application did not say what this would do, so nobody was asked and nothing was done.";
    /// A change that needs a person's confirmation, for which nobody can be asked.
    ToolUnconfirmed = "tool.unconfirmed", Caller, "Changes from outside need their person's confirmation in the browser, and this person has no page here on which they could be asked.";
    /// A host that is not on the list.
    EgressHost = "egress.host", Caller, "This host can't be reached from here. Only the model, the application's tools and hosts the operator allowed can.";
    /// TLS without a name, or with one that is not allowed.
    EgressTls = "egress.tls", Caller, "This TLS connection can't be made from here: its server name is missing or not allowed.";
    /// A method or path that no rule allows, of a host that a rule names.
    EgressRule = "egress.rule", Caller, "This method and path are not allowed for this host. Ask the operator for a rule if it is needed.";
    /// A name that leads to this host, a private network or a metadata service.
    EgressAddress = "egress.address", Caller, "This host's address is private, local or reserved, so it is not connected to.";
    /// Not the protocol that is expected at this port, or a request that could be read in two ways.
    EgressProtocol = "egress.protocol", Caller, "Only plain HTTP requests can pass here: no CONNECT, no other protocol, and no request that could be read in two ways.";
    /// More requests to other hosts at once than one sandbox may have.
    EgressBusy = "egress.busy", Limit, "Too many requests to other hosts at once. Wait for one to end.";
    /// The agent did nothing that a run is for, and did not say that it is done.
    RunIdle = "run.idle", Limit, "The assistant did nothing for longer than allowed and was stopped. Try again.";
    /// The agent printed more than it may.
    AgentOutput = "agent.output", Limit, "The assistant produced more output than allowed and was stopped. Ask for less at a time.";
    /// Something in the sandbox was killed for want of memory.
    AgentMemory = "agent.memory", Limit, "The assistant needed more memory than allowed and was stopped. Ask for less at a time.";
    /// A run's processor time is used up.
    AgentCpu = "agent.cpu", Limit, "The assistant used more processor time than allowed and was stopped. Ask for less at a time.";
    /// No further process or thread could be started in the sandbox.
    AgentProcesses = "agent.processes", Limit, "The assistant ran as many processes as allowed, so no more could be started. Ask for less at a time.";
    /// A folder of the sandbox is full, of bytes or of files.
    AgentDisk = "agent.disk", Limit, "The assistant's room for files is full, so no more could be written. Ask for less at a time.";
    /// More connections than a sandbox may have, or may make in a minute.
    AgentConnections = "agent.connections", Limit, "The assistant opened more connections than allowed, so they were refused. Try again, or ask for less at a time.";
    /// More requests than a sandbox may make in a minute.
    AgentRequests = "agent.requests", Limit, "The assistant made more requests than allowed and was stopped. Try again, or ask for less at a time.";
    /// An address, or its network, sent as many messages as it may.
    RateAddress = "rate.address", Limit, "Too many messages came from your network. Wait a moment and send it again.";
    /// A person sent as many messages as they may.
    RateUser = "rate.user", Limit, "You have sent as many messages as you may for now. Wait a while and send it again.";
    /// A person did as much in an app's page as they may in this time.
    RateEdits = "rate.edits", Limit, "You have changed as much as you may for now. Wait a moment and do it again.";
    /// As much was looked up from one address as may be.
    RateLookups = "rate.lookups", Limit, "As much was looked up from your network as may be for now. Wait a moment and do it again.";
    /// A person's agents used tools as often as they may.
    RateTools = "rate.tools", Limit, "The application's tools were used for you as often as they may be in an hour. Wait a while and ask again.";
    /// What the agent does is unusual, and the person did not say that it shall go on.
    BehaviourUnconfirmed = "behaviour.unconfirmed", Limit, "The assistant did unusually much at once, and nobody said in time that it shall go on. Answer the question in the page, and ask again.";
    /// What the agent does is so unusual that its run was stopped.
    BehaviourHostile = "behaviour.hostile", Limit, "The assistant did far more at once than anybody asks for and was stopped. Look at what it changed, and ask for less at a time.";
    /// A person's own client does unusually much at once.
    BehaviourClient = "behaviour.client", Limit, "This client does unusually much at once, so it is not answered for a while. Wait as long as the answer says, then go on more slowly.";
    /// Everybody together sent as much as the gateway takes.
    RateGlobal = "rate.global", Limit, "Too many people are using this right now. Wait a moment and send it again.";
    /// A host application's users sent as many messages as all of them may.
    RateHost = "rate.host", Limit, "The users of this service have sent as many messages as they may for now. Wait a while and send it again.";
    /// A key was used as often as it may be.
    RateKey = "rate.key", Limit, "This key has made as many requests as it may for now. Wait as long as retry-after says.";
    /// A message waited for a place for as long as it may.
    RunQueueExpired = "run.queue_expired", Limit, "Too many messages were being worked on, and yours could not begin in time. It is kept; send it again.";
    /// An action that a service key is not for.
    HostAction = "host.action", Caller, "This service key is not for this. Use one whose actions allow it, or ask the operator for another.";
    /// An app that a service key, or its host, is not for.
    HostApp = "host.app", Caller, "This service key is not for this application. Use one that is, or ask the operator to add it to the host.";
    /// A service key whose host is not configured (any more).
    HostUnknown = "host.unknown", Caller, "The host application of this service key is not configured here. Ask the operator to add it, or to revoke the key.";
    /// No assertion of a user, or several.
    AssertionMissing = "assertion.missing", Caller, "The request says for no user, or for several, that it is made. Send one assertion as x-hexward-user.";
    /// An assertion that is no JSON Web Token with what must be in it.
    AssertionMalformed = "assertion.malformed", Caller, "The user's assertion is not a JSON Web Token with iss, aud, sub, exp, iat and jti. Make it as the documentation says.";
    /// An algorithm that the host does not use, or a header that asks for more than that.
    AssertionAlgorithm = "assertion.algorithm", Caller, "The user's assertion has an algorithm or a header that is not allowed for this host. Sign it with one that is, without crit, jku or jwk.";
    /// The host has no such key.
    AssertionKey = "assertion.key", Caller, "The user's assertion was signed with a key that the host does not publish. Publish it, or sign with one that is published.";
    /// An assertion that was not signed with the host's key.
    AssertionSignature = "assertion.signature", Caller, "The user's assertion does not have the host's signature. Sign it with the host's own key.";
    /// An assertion of another issuer.
    AssertionIssuer = "assertion.issuer", Caller, "The user's assertion is not of this host: its iss is another one. Use the assertion and the key of one host.";
    /// An assertion for somebody else.
    AssertionAudience = "assertion.audience", Caller, "The user's assertion is not for this gateway: its aud is another one. Make one with the configured audience.";
    /// An assertion that is over, from the future, or good for too long.
    AssertionTime = "assertion.time", Caller, "The user's assertion is over, not yet good, or good for more than 300 seconds. Make a new one, and check the clock.";
    /// An assertion that was used before.
    AssertionReplayed = "assertion.replayed", Caller, "The user's assertion was used before. Make a new one with another jti for each request that changes something.";
    /// An assertion whose keys could not be fetched.
    AssertionKeys = "assertion.keys", Limit, "The host's keys can't be fetched right now, so nobody's assertion can be checked. Try again in a moment.";
    /// A ticket that opens nothing, or not this.
    TicketInvalid = "ticket.invalid", Caller, "This ticket is not for this, or is over. Ask the application for a new one.";
    /// A ticket with which a stream is open.
    TicketInUse = "ticket.in_use", Caller, "This ticket's events are being read already. Close the other stream first, or ask for another ticket.";
}

impl DenialCode {
    /// Whether the next UTC day changes it.
    #[must_use]
    pub const fn ends_with_the_day(self) -> bool {
        matches!(self, Self::BudgetDay | Self::BudgetUser | Self::BudgetTier | Self::BudgetApp | Self::BudgetHost)
    }
}

impl fmt::Display for DenialCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// Which rule.
    pub code: DenialCode,
    /// What was wanted (a host, a tool, a model), for the record; never shown to others than its own user.
    pub wanted: String,
}

/// What was wanted may be hostile and long; the record keeps this much of it.
const WANTED_CHARS_MAX: usize = 200;

impl Denial {
    /// A refusal of `wanted`.
    #[must_use]
    pub fn new(code: DenialCode, wanted: &str) -> Self {
        let clean = |c: char| if c.is_control() { '\u{fffd}' } else { c };
        Self { code, wanted: wanted.chars().take(WANTED_CHARS_MAX).map(clean).collect() }
    }

    /// The public sentence.
    #[must_use]
    pub const fn message(&self) -> &'static str {
        self.code.sentence()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_stable_and_say_what_to_do() {
        let mut seen = std::collections::HashSet::new();
        for code in DenialCode::ALL {
            assert!(seen.insert(code.as_str()), "{code} stands twice");
            assert!(code.sentence().ends_with('.') && code.sentence().len() > 20, "{code}");
        }
        let listed: Vec<&str> = DenialCode::ALL.iter().map(|code| code.as_str()).collect();
        let expected = "run.none run.deadline run.turns budget.run budget.day budget.user budget.tier budget.app budget.host model.context \
                        model.name model.path model.feature model.conversation model.output key.scope key.tool key.read_only \
                        key.requests model.busy upstream.unavailable tool.unknown tool.not_emitted tool.induced tool.argument \
                        tool.input tool.schema tool.write_off undo.inverse undo.active undo.busy undo.rate tool.held confirmation.full confirmation.denied \
                        confirmation.expired confirmation.stale confirmation.unknown tool.unconfirmed egress.host egress.tls \
                        egress.rule egress.address egress.protocol egress.busy run.idle agent.output agent.memory agent.cpu \
                        agent.processes agent.disk agent.connections agent.requests rate.address rate.user rate.edits rate.lookups rate.tools \
                        behaviour.unconfirmed behaviour.hostile behaviour.client rate.global rate.host rate.key run.queue_expired host.action host.app host.unknown \
                        assertion.missing assertion.malformed assertion.algorithm assertion.key assertion.signature assertion.issuer \
                        assertion.audience assertion.time assertion.replayed assertion.keys ticket.invalid ticket.in_use";
        assert_eq!(listed.join(" "), expected, "a code was renamed or removed: clients match on them");
    }

    #[test]
    fn what_was_wanted_is_bounded_and_printable() {
        let denial = Denial::new(DenialCode::EgressHost, &format!("a\nb{}", "x".repeat(1000)));
        assert!(denial.wanted.starts_with("a\u{fffd}b") && denial.wanted.chars().count() == WANTED_CHARS_MAX);
    }
}
