//! Tools for a person's own client, known by a key: the same door, policy and journal as for agents in sandboxes, without a model whose
//! word could be asked for.

use crate::Proxy;
use crate::behaviour::act_of;
use crate::callers::Windows;
use crate::confirm::{self, AskError, Asked};
use crate::context::App;
use crate::definitions::Definition;
use crate::fitting::{self, Unfit};
use crate::mcp::front::{Extras, HostError, LogLevel, PromptCall, ServerInfo, ToolCall, ToolHost};
use crate::mcp::{Back, Kept, Notices, asks, bounded, passed_on};
use crate::offer::{offered, read_resource, resource_templates, resources, server_info, user_ref};
use crate::prompts::{complete, prompt, prompts};
use crate::reading::carry_out_read;
use futures_util::future::BoxFuture;
use policy::{
    Act, AuditEvent, ClientView, Denial, DenialCode, KeyId, KeyScope, Known, RunId, ToolQuestion, ToolRequest, ToolVerdict,
    UserId, admit_client_tool, canonical_digest,
};
use serde_json::{Map, Value};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Instant;
use store::{OpenError, ReadCall};
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio_util::sync::CancellationToken;

/// A client whose key is good, for one request.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) key: KeyId,
    /// What its owner called it.
    pub(crate) name: Arc<str>,
    /// Whether its person has a page of this gateway on which they can be asked: nobody has whose service only names them.
    pub(crate) can_ask: bool,
    pub(crate) user: UserId,
    pub(crate) scope: Arc<KeyScope>,
    pub(crate) windows: Arc<Windows>,
    /// What of tools' logs it wants, where it says so once for all.
    pub(crate) log_level: Arc<AtomicU8>,
}

/// What becomes of a call.
enum Opened {
    /// It reads.
    Read(Box<ReadCall>),
    /// It needs its owner's yes, under this id.
    Question(Box<ToolQuestion>, String),
    /// Its arguments do not fit; this is what its caller is told.
    Unfit(Value),
}

/// The tools of one app, as this client may see them.
#[derive(Clone)]
pub(crate) struct ClientTools {
    pub(crate) proxy: Arc<Proxy>,
    pub(crate) app: Arc<App>,
    pub(crate) client: Client,
    /// Held until the last word of a call is written down.
    pub(crate) _places: Option<Places>,
}

/// The key's own place and one of everybody's.
pub(crate) type Places = Arc<[OwnedSemaphorePermit; 2]>;

impl ClientTools {
    /// Gives its answer as soon as there is one; what has to be written down after that is.
    async fn carry(self, call: ToolCall, notices: Option<Notices>, answer: oneshot::Sender<Result<Value, HostError>>) {
        let mut answer = Some(answer);
        let mut call = call;
        let digest = canonical_digest(&call.arguments);
        let kept = match self.reopen(("tools/call", &call.name), digest, &mut call.back) {
            Ok(kept) => kept,
            Err(error) => return drop(answer.take().map(|answer| answer.send(Err(error)))),
        };
        let back = std::mem::take(&mut call.back);
        // Whoever asked may have left.
        let mut give = |result: Result<Value, HostError>| {
            let result = result.and_then(|result| self.asked_back(result, &back, kept.as_ref())).map(bounded);
            drop(answer.take().map(|answer| answer.send(result)));
        };
        let known = match self.listed(&call.name).await {
            Ok(known) => known,
            Err(error) => return give(Err(error)),
        };
        let done = match self.open(&call, digest, known).await {
            Ok(Opened::Unfit(result)) => return give(Ok(result)),
            Ok(Opened::Read(reading)) => {
                let answer = |result, _, _: &str| give(result);
                let around = (notices.as_ref(), &*back);
                Box::pin(carry_out_read(&self.proxy, &self.app, *reading, call.arguments, around, answer)).await
            }
            // Rare, and large: what is common is not to be moved about with it.
            Ok(Opened::Question(question, id)) => match Box::pin(self.confirm(*question, &id, call.arguments)).await {
                Ok(result) => return give(Ok(result)),
                Err(AskError::Host(error)) => return give(Err(error)),
                Err(AskError::Open(error)) => Err(error),
            },
            Err(error) => Err(error),
        };
        if let Err(error) = done {
            give(Err(Box::pin(self.not_opened(error)).await));
        }
    }

    /// Has the key's owner asked in their own browser, and waits for a while. What comes of it later stands on their page.
    async fn confirm(&self, question: ToolQuestion, id: &str, arguments: Map<String, Value>) -> Result<Value, AskError> {
        let asked = Asked {
            app: &self.app,
            question,
            tool_use_id: id,
            asked_by: Some(self.client.name.to_string()),
            arguments,
            until: Instant::now() + self.proxy.confirmation_wait,
            over: CancellationToken::new(),
        };
        Ok(confirm::ask(&self.proxy, asked, |_| std::future::ready(())).await?.result)
    }

    async fn not_opened(&self, error: OpenError) -> HostError {
        match error {
            OpenError::Denied(denial) | OpenError::Short { denial, .. } => self.refuse(denial).await,
            OpenError::Store(error) => {
                tracing::error!(%error, "a client's tool call could not be journaled, so nothing of it was given");
                HostError::Upstream("the journal is not available".to_owned())
            }
        }
    }

    /// What the tool's server says of it.
    async fn listed(&self, tool: &str) -> Result<Option<Definition>, HostError> {
        if !self.app.manifest.tools.contains_key(tool) {
            return Ok(None);
        }
        if let Some(known) = self.proxy.definitions.known(&self.app.manifest.key(), tool) {
            return Ok(Some(known));
        }
        match Box::pin(self.proxy.definitions.of(&self.app, &user_ref(self.client.user), tool, true)).await? {
            Some(known) => Ok(Some(known)),
            None => Err(Box::pin(self.refuse(Denial::new(DenialCode::ToolUnknown, tool))).await),
        }
    }

    /// May they? And then: on its way into the journal, or to its owner.
    async fn open(&self, call: &ToolCall, digest: Option<[u8; 32]>, known: Option<Definition>) -> Result<Opened, OpenError> {
        let Self { proxy, app, client, .. } = self;
        let Some(arguments_digest) = digest else {
            return Err(OpenError::Denied(Denial::new(DenialCode::ToolUnknown, &call.name)));
        };
        let now = proxy.clock.now();
        let window = client.windows.of(proxy, client, &app.manifest.id, now).await?;
        let request = ToolRequest {
            tool: call.name.clone(),
            arguments_digest,
            emitted: false,
            honest: false,
            listed: known.as_ref().map(|known| known.listed).unwrap_or_default(),
            ask_for_writes: true,
            // What its person wrote is not known here, so only lists can allow a value that a rule asks about.
            strange_argument: app.manifest.strange_argument(&call.name, &call.arguments, &Known::default()).map(str::to_owned),
        };
        let view = ClientView { window, user: client.user, scope: &client.scope };
        let verdict = admit_client_tool(request, &app.manifest, view).map_err(OpenError::Denied)?;
        match known.map(|known| fitting::check(&known.schema, &call.name, &call.arguments)) {
            Some(Err(Unfit::Unusable(denial))) => return Err(OpenError::Denied(denial)),
            Some(Err(Unfit::Misfit(misfit))) => {
                self.record(misfit.denial).await;
                return Ok(Opened::Unfit(misfit.result));
            }
            Some(Ok(())) | None => {}
        }
        let class = match &verdict {
            ToolVerdict::Permit(permit) => permit.class(),
            ToolVerdict::Confirm(question) => question.class(),
        };
        proxy.pace_client(window, client.user, act_of(class)).await.map_err(OpenError::Denied)?;
        let permit = match verdict {
            ToolVerdict::Permit(permit) => permit,
            // Nobody else's word stands behind it, so each call is one of its own.
            ToolVerdict::Confirm(question) if client.can_ask => {
                return Ok(Opened::Question(Box::new(question), format!("client_{}", RunId::random())));
            }
            ToolVerdict::Confirm(_) => return Err(OpenError::Denied(Denial::new(DenialCode::ToolUnconfirmed, &call.name))),
        };
        // Only reads are permitted to a client without a question; anything else would have to be opened before it is made.
        let unconfirmed = || OpenError::Denied(Denial::new(DenialCode::ToolUnconfirmed, &call.name));
        let arguments = serde_json::to_string(&call.arguments).map_err(|_| unconfirmed())?;
        let reading = proxy.ledger.begin_read(permit, &app.manifest.id, None, arguments, now);
        Ok(Opened::Read(Box::new(reading.map_err(|_| unconfirmed())?)))
    }

    /// What a call brings along of an earlier round, as the server said it; and what such a thing is sealed for: nothing, where
    /// arguments have no canonical form.
    fn reopen(
        &self,
        (method, name): (&'static str, &str),
        digest: Option<[u8; 32]>,
        back: &mut Back,
    ) -> Result<Option<Kept>, HostError> {
        let whose = (self.client.key, self.client.user);
        let kept = digest.map(|digest| Kept::new(whose, &self.app.manifest.id, (method, name), digest));
        if let Some(sealed) = &back.state {
            let state = kept.as_ref().and_then(|kept| self.proxy.states.open(kept, sealed, self.proxy.clock.now()));
            back.state = Some(state.ok_or(HostError::State)?);
        }
        Ok(kept)
    }

    /// A server's question, as its caller gets it; anything else stays as it is.
    fn asked_back(&self, result: Value, back: &Back, kept: Option<&Kept>) -> Result<Value, HostError> {
        let Some(questions) = result.as_object().filter(|result| asks(result)) else { return Ok(result) };
        let refused = || HostError::Needs(Value::Object(Map::new()));
        let mut passed = passed_on(questions, back, &self.app.manifest.title).ok_or_else(refused)?;
        if let Some(state) = passed.get_mut("requestState")
            && let Some(text) = state.as_str()
        {
            let kept = kept.ok_or_else(refused)?;
            *state = Value::String(self.proxy.states.seal(kept, text, self.proxy.clock.now()));
        }
        Ok(passed)
    }

    /// A refusal reaches the client as a failed tool, and the record; a flood of them does not.
    async fn refuse(&self, denial: Denial) -> HostError {
        let code = denial.code;
        // Its window is there as soon as anything was asked for with the key; a refusal for too much is no further act.
        if let Some(window) = self.client.windows.now().filter(|_| code != DenialCode::BehaviourClient) {
            self.proxy.judge_client(window, self.client.user, Act::Denied).await;
        }
        self.record(denial).await;
        HostError::Denied { code: code.as_str(), message: code.sentence() }
    }

    async fn record(&self, denial: Denial) {
        if self.client.windows.note_refusal(self.proxy.clock.now()) {
            self.proxy.record(AuditEvent::Denied { run: self.client.windows.now(), denial }).await;
        }
    }

    /// Resources are read by a key that is for the whole app.
    fn reads_resources(&self) -> Result<(), HostError> {
        if self.client.scope.tools.is_none() {
            return Ok(());
        }
        Err(HostError::Denied { code: DenialCode::KeyTool.as_str(), message: DenialCode::KeyTool.sentence() })
    }

    /// On a task of its own, so that a client that goes away can't take the journal's second entry with it.
    fn spawn(&self, call: ToolCall, notices: Option<Notices>) -> BoxFuture<'static, Result<Value, HostError>> {
        let (answer, answered) = oneshot::channel();
        self.proxy.work.spawn(self.clone().carry(call, notices, answer));
        let failed = || Err(HostError::Uncertain("the call was given up".to_owned()));
        Box::pin(async move { answered.await.unwrap_or_else(|_| failed()) })
    }
}

impl ToolHost for ClientTools {
    fn server(&self) -> ServerInfo {
        server_info(&self.app)
    }

    fn tools(&self) -> BoxFuture<'_, Result<Vec<Value>, HostError>> {
        Box::pin(async move {
            let scope = &self.client.scope;
            let tools = offered(&self.proxy, &self.app, &user_ref(self.client.user), scope.writes).await?;
            let within = |tool: &Value| tool.get("name").and_then(Value::as_str).is_some_and(|name| scope.allows_tool(name));
            Ok(tools.into_iter().filter(within).collect())
        })
    }

    fn call(&self, call: ToolCall) -> BoxFuture<'_, Result<Value, HostError>> {
        self.spawn(call, None)
    }

    fn call_telling(&self, call: ToolCall, notices: Notices) -> BoxFuture<'_, Result<Value, HostError>> {
        let level = LogLevel(self.client.log_level.load(Ordering::Relaxed));
        self.spawn(call, Some(notices.at(level)))
    }

    fn extras(&self) -> Extras {
        Extras { prompts: !self.app.manifest.prompts.is_empty() && self.client.scope.tools.is_none(), log: true }
    }

    fn set_log_level(&self, level: LogLevel) {
        self.client.log_level.store(level.0, Ordering::Relaxed);
    }

    fn prompts(&self) -> BoxFuture<'_, Result<Vec<Value>, HostError>> {
        Box::pin(prompts(&self.app, self.client.user))
    }

    fn prompt(&self, mut call: PromptCall) -> BoxFuture<'_, Result<Value, HostError>> {
        Box::pin(async move {
            let kept = self.reopen(("prompts/get", &call.name), canonical_digest(&call.arguments), &mut call.back)?;
            let back = call.back.clone();
            let filled = prompt(&self.app, self.client.user, call).await?;
            self.asked_back(filled, &back, kept.as_ref())
        })
    }

    fn complete(&self, params: Map<String, Value>) -> BoxFuture<'_, Result<Value, HostError>> {
        Box::pin(complete(&self.app, self.client.user, params))
    }

    fn resources(&self) -> BoxFuture<'_, Result<Vec<Value>, HostError>> {
        Box::pin(async move {
            if self.reads_resources().is_err() {
                return Ok(Vec::new());
            }
            resources(&self.app, self.client.user).await
        })
    }

    fn resource_templates(&self) -> BoxFuture<'_, Result<Vec<Value>, HostError>> {
        Box::pin(async move {
            if self.reads_resources().is_err() {
                return Ok(Vec::new());
            }
            resource_templates(&self.app, self.client.user).await
        })
    }

    fn read_resource<'a>(&'a self, uri: &'a str) -> BoxFuture<'a, Result<Value, HostError>> {
        Box::pin(async move {
            self.reads_resources()?;
            read_resource(&self.app, self.client.user, uri).await
        })
    }
}
