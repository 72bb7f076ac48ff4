//! The same of tools: the operator's manifest, the user's switch, a key's scope, and the model's own word.

use crate::{
    Denial, DenialCode, KeyScope, Manifest, RunId, RunView, Timestamp, ToolClass, ToolEffect, ToolListed, ToolQuestion, UserId,
};

/// A parsed tool call.
#[derive(Clone, Debug)]
pub struct ToolRequest {
    /// The tool, without the server's prefix.
    pub tool: String,
    /// SHA-256 of the canonical arguments.
    pub arguments_digest: [u8; 32],
    /// Whether the model's own stream carried this call in this run, not yet used.
    pub emitted: bool,
    /// Whether that was in a conversation that the gateway kept honest. Otherwise something in the sandbox may have had it said.
    pub honest: bool,
    /// What its server says of the tool, and whether an operator has to look at that first.
    pub listed: ToolListed,
    /// Whether its owner is asked before every write, because nobody follows the conversation that it comes from.
    pub ask_for_writes: bool,
    /// The first of its arguments whose value comes from where the manifest does not say ([`Manifest::strange_argument`]).
    pub strange_argument: Option<String>,
}

/// Permission to make one tool call, used up by `store.open_tool_call`.
#[derive(Debug)]
pub struct ToolPermit {
    request: ToolRequest,
    run: RunId,
    user: UserId,
    class: ToolClass,
}

/// The one way to make one, for [`admit_tool`] and for what was confirmed.
pub(crate) const fn permit(request: ToolRequest, run: RunId, user: UserId, class: ToolClass) -> ToolPermit {
    ToolPermit { request, run, user, class }
}

/// What becomes of a call that nothing speaks against.
#[derive(Debug)]
pub enum ToolVerdict {
    /// It may be made now.
    Permit(ToolPermit),
    /// It may be made once its owner has seen what it does, and agreed.
    Confirm(ToolQuestion),
}

impl ToolPermit {
    /// What was permitted.
    #[must_use]
    pub const fn request(&self) -> &ToolRequest {
        &self.request
    }
    /// For which run.
    #[must_use]
    pub const fn run(&self) -> RunId {
        self.run
    }
    /// For whom.
    #[must_use]
    pub const fn user(&self) -> UserId {
        self.user
    }
    /// What the tool does.
    #[must_use]
    pub const fn effect(&self) -> ToolEffect {
        self.class.effect
    }
    /// The same with what it could break.
    #[must_use]
    pub const fn class(&self) -> ToolClass {
        self.class
    }
}

/// Decides about a tool call: the operator's manifest, the user's switch, and the model's own word. What can't be undone or reaches
/// the open world is not permitted here, only asked.
///
/// # Errors
/// The [`Denial`] to answer with.
pub fn admit_tool(request: ToolRequest, manifest: &Manifest, view: &RunView, now: Timestamp) -> Result<ToolVerdict, Denial> {
    let denied = |code| Err(Denial::new(code, &request.tool));
    if now >= view.deadline {
        return Err(Denial::new(DenialCode::RunDeadline, &view.run.to_string()));
    }
    // First, because everything else that is refused is part of what is told of the conversation.
    if !request.emitted {
        return denied(DenialCode::ToolNotEmitted);
    }
    let Some(rule) = manifest.tools.get(&request.tool) else { return denied(DenialCode::ToolUnknown) };
    if request.listed.held {
        return denied(DenialCode::ToolHeld);
    }
    let class = rule.class(request.listed.hints);
    if class.effect == ToolEffect::Write && !view.writes {
        return denied(DenialCode::ToolWriteOff);
    }
    if class.acts() && !request.honest {
        return denied(DenialCode::ToolInduced);
    }
    // Before anybody is asked: nobody can tell by looking at a value where the model has it from.
    if let Some(argument) = &request.strange_argument {
        return Err(Denial::new(DenialCode::ToolArgument, &format!("{}: {argument}", request.tool)));
    }
    let (run, user, writes) = (view.run, view.user, view.writes);
    if class.needs_confirmation() || (request.ask_for_writes && class.effect == ToolEffect::Write) {
        return Ok(ToolVerdict::Confirm(ToolQuestion { request, run, user, class, writes }));
    }
    Ok(ToolVerdict::Permit(permit(request, run, user, class)))
}

/// A person's own client that asks for a tool.
#[derive(Clone, Copy, Debug)]
pub struct ClientView<'a> {
    /// The window its calls belong to.
    pub window: RunId,
    /// Whose client it is.
    pub user: UserId,
    /// What its key is for.
    pub scope: &'a KeyScope,
}

/// Decides about a tool call of a person's own client. There is no model here whose word could be asked for, and whoever holds the
/// key need not be the person: what its key is for may be read, and a change needs the person's own word.
///
/// # Errors
/// The [`Denial`] to answer with.
pub fn admit_client_tool(request: ToolRequest, manifest: &Manifest, client: ClientView<'_>) -> Result<ToolVerdict, Denial> {
    let denied = |code| Err(Denial::new(code, &request.tool));
    let Some(rule) = manifest.tools.get(&request.tool) else { return denied(DenialCode::ToolUnknown) };
    if !client.scope.allows_tool(&request.tool) {
        return denied(DenialCode::KeyTool);
    }
    if request.listed.held {
        return denied(DenialCode::ToolHeld);
    }
    if let Some(argument) = &request.strange_argument {
        return Err(Denial::new(DenialCode::ToolArgument, &format!("{}: {argument}", request.tool)));
    }
    let class = rule.class(request.listed.hints);
    if !class.acts() && !class.needs_confirmation() {
        return Ok(ToolVerdict::Permit(permit(request, client.window, client.user, class)));
    }
    if !client.scope.writes {
        return denied(DenialCode::KeyReadOnly);
    }
    let (run, user) = (client.window, client.user);
    Ok(ToolVerdict::Confirm(ToolQuestion { request, run, user, class, writes: true }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn view() -> RunView {
        let run = RunId::random();
        RunView {
            run,
            user: UserId::random(),
            key: None,
            models: Some(vec!["claude-sonnet-5-5".to_owned()]),
            turns_used: 0,
            turns_max: 2,
            output_tokens_max: 4000,
            context_tokens_max: Some(1_000),
            deadline: Timestamp(100),
            writes: false,
            budgets: Arc::new([]),
        }
    }

    /// Tools that look, change, delete and ask others, and what becomes of calls of them: `now` or `asked` with the class.
    fn decide(request: ToolRequest, view: &RunView) -> Result<String, DenialCode> {
        let manifest = Manifest::parse(
            "id='a'\ntitle='A'\ngreeting='g'\n[agent]\nmodel='m'\n[mcp]\nname='a'\nserver='builtin'\n[tools.look]\neffect='read'\n\
             [tools.change]\neffect='write'\ndestructive=false\nopen_world=false\ninverse='undo'\n\
             [tools.delete]\neffect='write'\nopen_world=false\n[tools.fetch]\neffect='read'\nopen_world=true",
        )
        .expect("a manifest");
        match admit_tool(request, &manifest, view, Timestamp(0)) {
            Ok(ToolVerdict::Permit(permit)) => Ok(format!("now {}", permit.class().word())),
            Ok(ToolVerdict::Confirm(question)) => Ok(format!("asked {}", question.class().word())),
            Err(denial) => Err(denial.code),
        }
    }

    fn ask(tool: &str) -> ToolRequest {
        let listed = ToolListed::default();
        ToolRequest {
            tool: tool.to_owned(),
            arguments_digest: [0; 32],
            emitted: true,
            honest: true,
            listed,
            ask_for_writes: false,
            strange_argument: None,
        }
    }

    #[test]
    fn tools_need_the_manifest_the_switch_and_the_model() {
        let writes = RunView { writes: true, ..view() };
        let forged = |tool: &str| ToolRequest { emitted: false, ..ask(tool) };
        assert_eq!(decide(ask("look"), &view()).as_deref(), Ok("now read"));
        assert_eq!(decide(forged("look"), &view()), Err(DenialCode::ToolNotEmitted));
        assert_eq!(decide(ask("change"), &view()), Err(DenialCode::ToolWriteOff));
        assert_eq!(decide(ask("change"), &writes).as_deref(), Ok("now write"));
        assert_eq!(decide(forged("change"), &writes), Err(DenialCode::ToolNotEmitted));
        let induced = |tool: &str| ToolRequest { honest: false, ..ask(tool) };
        assert_eq!(decide(induced("change"), &writes), Err(DenialCode::ToolInduced), "said outside of the conversation");
        assert_eq!(decide(induced("look"), &writes).as_deref(), Ok("now read"), "a look changes nothing");
        assert_eq!(decide(induced("fetch"), &writes), Err(DenialCode::ToolInduced), "asking others tells them something");
        assert_eq!(decide(ask("delete_all"), &writes), Err(DenialCode::ToolUnknown));
    }

    #[test]
    fn what_can_t_be_undone_or_reaches_the_world_is_asked_first() {
        let writes = RunView { writes: true, ..view() };
        assert_eq!(decide(ask("delete"), &writes).as_deref(), Ok("asked write destructive"));
        assert_eq!(decide(ask("delete"), &view()), Err(DenialCode::ToolWriteOff), "there is nothing to ask");
        assert_eq!(decide(ask("fetch"), &view()).as_deref(), Ok("asked read open"));
        let told = |tool: &str, hints| ToolRequest { listed: ToolListed { hints, ..ToolListed::default() }, ..ask(tool) };
        let breaks = crate::ToolHints { destructive: Some(true), ..crate::ToolHints::default() };
        assert_eq!(decide(told("change", breaks), &writes).as_deref(), Ok("asked write destructive"), "its server says so");
        assert_eq!(decide(told("look", breaks), &view()), Err(DenialCode::ToolWriteOff), "a read no more");
        let elsewhere = |tool: &str| ToolRequest { ask_for_writes: true, ..ask(tool) };
        assert_eq!(decide(elsewhere("change"), &writes).as_deref(), Ok("asked write"));
        assert_eq!(decide(elsewhere("look"), &writes).as_deref(), Ok("now read"));
    }

    #[test]
    fn a_value_from_elsewhere_is_refused_whatever_the_tool_does() {
        let writes = RunView { writes: true, ..view() };
        let strange = |tool: &str| ToolRequest { strange_argument: Some("to".to_owned()), ..ask(tool) };
        for tool in ["look", "change", "delete", "fetch"] {
            assert_eq!(decide(strange(tool), &writes), Err(DenialCode::ToolArgument), "{tool}: nobody is asked either");
        }
        assert_eq!(decide(strange("change"), &view()), Err(DenialCode::ToolWriteOff));
        assert_eq!(decide(ToolRequest { honest: false, ..strange("change") }, &writes), Err(DenialCode::ToolInduced));
    }

    #[test]
    fn a_tool_that_became_another_one_is_held() {
        let held = ToolRequest { listed: ToolListed { held: true, ..ToolListed::default() }, ..ask("look") };
        assert_eq!(decide(held.clone(), &view()), Err(DenialCode::ToolHeld));
        assert_eq!(decide(ToolRequest { emitted: false, ..held }, &view()), Err(DenialCode::ToolNotEmitted));
    }

    #[test]
    fn a_value_from_elsewhere_is_refused_to_a_client_of_its_own_too() {
        let manifest = Manifest::parse(
            "id='a'\ntitle='A'\ngreeting='g'\n[agent]\nmodel='m'\n[mcp]\nname='a'\nserver='builtin'\n[tools.look]\neffect='read'\n\
             [tools.look.arguments]\nto = { from = ['user'] }\n[tools.change]\neffect='write'",
        )
        .expect("a manifest");
        let scope = KeyScope { writes: true, ..KeyScope::default() };
        let code = |tool: &str, strange: Option<&str>, held: bool| {
            let listed = ToolListed { held, ..ToolListed::default() };
            let request = ToolRequest { strange_argument: strange.map(str::to_owned), listed, ..ask(tool) };
            let client = ClientView { window: RunId::random(), user: UserId::random(), scope: &scope };
            admit_client_tool(request, &manifest, client).map(|_| ()).map_err(|denial| denial.code)
        };
        for tool in ["look", "change"] {
            assert_eq!(code(tool, Some("to"), false), Err(DenialCode::ToolArgument), "{tool}: neither made nor asked about");
            assert_eq!(code(tool, Some("to"), true), Err(DenialCode::ToolHeld), "{tool}");
            assert_eq!(code(tool, None, false), Ok(()), "{tool}");
        }
        let narrow = KeyScope { tools: Some(vec!["change".to_owned()]), ..KeyScope::default() };
        let request = ToolRequest { strange_argument: Some("to".to_owned()), ..ask("look") };
        let client = ClientView { window: RunId::random(), user: UserId::random(), scope: &narrow };
        assert_eq!(
            admit_client_tool(request, &manifest, client).map(|_| ()).map_err(|denial| denial.code),
            Err(DenialCode::KeyTool),
            "whose key is not for the tool learns nothing of its rules"
        );
    }

    #[test]
    fn a_client_of_its_own_reads_within_its_key_and_changes_nothing() {
        let manifest = Manifest::parse(
            "id='a'\ntitle='A'\ngreeting='g'\n[agent]\nmodel='m'\n[mcp]\nname='a'\nserver='builtin'\n[tools.look]\neffect='read'\n[tools.change]\neffect='write'",
        )
        .expect("a manifest");
        let code = |tool: &str, scope: &KeyScope| {
            let request = ask(tool);
            let client = ClientView { window: RunId::random(), user: UserId::random(), scope };
            let verdict = admit_client_tool(request, &manifest, client).map_err(|denial| denial.code)?;
            Ok(match verdict {
                ToolVerdict::Permit(permit) => (permit.effect(), false),
                ToolVerdict::Confirm(question) => (question.class().effect, true),
            })
        };
        let (reads, writes) = (KeyScope::default(), KeyScope { writes: true, ..KeyScope::default() });
        let narrow = KeyScope { tools: Some(vec!["change".to_owned()]), ..writes.clone() };
        assert_eq!(code("look", &reads), Ok((ToolEffect::Read, false)));
        assert_eq!(code("nothing", &reads), Err(DenialCode::ToolUnknown));
        assert_eq!(code("change", &reads), Err(DenialCode::KeyReadOnly), "whatever was emitted: nobody saw a model say it");
        assert_eq!(code("change", &writes), Ok((ToolEffect::Write, true)), "its person is asked");
        assert_eq!(code("look", &narrow), Err(DenialCode::KeyTool));
        assert_eq!(code("change", &narrow), Ok((ToolEffect::Write, true)));
    }
}
