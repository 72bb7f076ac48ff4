//! The way of a tool call: the run's app, the model's own word, the journal, the tool, the journal again.

use crate::answer::{self, Body};
use crate::behaviour::act_of;
use crate::calling::{Outcome, UNREACHABLE, UNWRITTEN, carry_out};
use crate::confirm::{self, Answer, AskError, Asked};
use crate::context::RunContext;
use crate::definitions::Definition;
use crate::emissions::{Claim, Said};
use crate::fitting::{self, Misfit, Unfit};
use crate::mcp::front::{self, HostError, ServerInfo, ToolCall, ToolHost};
use crate::mcp::{Back, capped, marked};
use crate::offer::{offered, read_resource, resource_templates, resources, server_info, unreachable_app, user_ref};
use crate::reading::carry_out_read;
use crate::{Proxy, RunEvent, body};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::request::Parts;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use policy::{Act, AuditEvent, CallId, Denial, DenialCode, ToolQuestion, ToolRequest, ToolVerdict, admit_tool, canonical_digest};
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::time::Instant;
use store::{OpenError, OpenToolCall, ReadCall, ToolState};

/// Answers one request on the tools' name.
pub(crate) async fn handle(proxy: &Arc<Proxy>, run: Arc<RunContext>, request: Request<Incoming>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let body = match body::read(body).await {
        Ok(body) => body,
        Err(refusal) => return refusal,
    };
    // The run may have ended while the body came. From here on its end waits for this request.
    let Some(entry) = run.enter() else {
        return refuse_request(proxy, &run, Denial::new(DenialCode::RunNone, head.uri.path())).await;
    };
    if !run.take_look() {
        return refuse_request(proxy, &run, Denial::new(DenialCode::RunTurns, head.uri.path())).await;
    }
    let host = RunTools { proxy: Arc::clone(proxy), run };
    // A task of its own, so that a client that goes away can't take the journal's second entry with it.
    let answering = tokio::spawn(async move {
        let answer = front(&head, body, &host).await;
        drop(entry);
        answer
    });
    answering.await.unwrap_or_else(|_| {
        answer::error(StatusCode::INTERNAL_SERVER_ERROR, "api_error", "The gateway failed to answer. Try again.")
    })
}

/// The front door with this host behind it.
pub(crate) async fn front(head: &Parts, body: Bytes, host: &dyn ToolHost) -> Response<Body> {
    front::handle(head, body, host).await.map(|body| body.map_err(|never| match never {}).boxed_unsync())
}

/// A request that is refused before it is read as one for a tool is recorded like any other refusal.
async fn refuse_request(proxy: &Proxy, run: &RunContext, denial: Denial) -> Response<Body> {
    proxy.write_down(run, denial.clone()).await;
    answer::denied(&denial)
}

/// The tools of one run, as the front door sees them.
struct RunTools {
    proxy: Arc<Proxy>,
    run: Arc<RunContext>,
}

/// Why a call came to nothing.
enum Stop {
    /// It was refused; that is not told to anybody yet.
    Denied(Denial),
    /// Everybody was told.
    Told(HostError),
    /// It could not be written down, and nobody was told yet.
    Unwritten,
    /// Its arguments do not fit.
    Unfit(Misfit),
}

impl From<Unfit> for Stop {
    fn from(unfit: Unfit) -> Self {
        match unfit {
            Unfit::Unusable(denial) => Self::Denied(denial),
            Unfit::Misfit(misfit) => Self::Unfit(misfit),
        }
    }
}

impl From<OpenError> for Stop {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Denied(denial) | OpenError::Short { denial, .. } => Self::Denied(denial),
            OpenError::Store(error) => {
                tracing::error!(%error, "a tool call could not be journaled, so it is not answered");
                Self::Unwritten
            }
        }
    }
}

impl RunTools {
    /// Carries out a call that the model asked for: once. Whoever sends the same once more gets what came of it.
    async fn call(&self, call: ToolCall) -> Result<Value, HostError> {
        let id = call.tool_use_id.clone().unwrap_or_default();
        let digest = canonical_digest(&call.arguments);
        let claim = digest.map_or(Claim::Nothing, |digest| self.run.emitted.claim(&id, &call.name, &digest));
        match claim {
            Claim::Again(repeat) => {
                tracing::debug!(run = %self.run.run, tool = call.name, "a call that was made already is answered with what came of it");
                repeat.answer().await
            }
            Claim::First(Said { arguments, honest, answering }) => {
                let result = self.carried_out(&call, &id, digest, Some((arguments, honest))).await;
                self.run.emitted.answered(answering, &result);
                result
            }
            Claim::Nothing => self.carried_out(&call, &id, digest, None).await,
        }
    }

    /// `said` is what the model said, if it did.
    async fn carried_out(
        &self,
        call: &ToolCall,
        id: &str,
        digest: Option<[u8; 32]>,
        said: Option<(Value, bool)>,
    ) -> Result<Value, HostError> {
        let result = match self.decided(call, id, digest, said).await {
            Ok(result) => Ok(capped(result)),
            Err(Stop::Told(error)) => Err(error),
            Err(Stop::Unwritten) => {
                self.tell(id, &call.name, UNWRITTEN.to_owned(), false, None).await;
                Err(HostError::Upstream("the journal is not available".to_owned()))
            }
            Err(Stop::Denied(denial)) => Err(self.refuse(denial, id, &call.name).await),
            Err(Stop::Unfit(misfit)) => Ok(self.correct(misfit, id, &call.name).await),
        };
        if let Some(dialogue) = self.run.dialogue() {
            match &result {
                Ok(result) => dialogue.returned(id, &call.name, result),
                Err(error) => {
                    // One that was to be carried out has a place for what came of it, any other one gets it here.
                    dialogue.refused(id, front::sentence(error));
                    dialogue.failed(id, front::sentence(error));
                }
            }
        }
        result
    }

    /// May they? And then: written down before it leaves, a read before it is answered; or asked about.
    async fn decided(
        &self,
        call: &ToolCall,
        id: &str,
        digest: Option<[u8; 32]>,
        said: Option<(Value, bool)>,
    ) -> Result<Value, Stop> {
        let arrived = Instant::now();
        let digest = digest.ok_or_else(|| Stop::Denied(Denial::new(DenialCode::ToolNotEmitted, &call.name)))?;
        let (verdict, arguments) = self.decide(call, id, digest, said).await?;
        match verdict {
            ToolVerdict::Permit(permit) => {
                let (text, app) = (Value::Object(arguments.clone()).to_string(), &self.run.app.manifest.id);
                let now = self.proxy.clock.now();
                let result = match self.proxy.ledger.begin_read(permit, app, Some(id), text.clone(), now) {
                    Ok(reading) => self.read(reading, id, arguments).await?,
                    Err(permit) => {
                        let open = self.proxy.store.open_tool_call(*permit, app, id, text, now).await?;
                        self.run_tool(open, id, arguments).await
                    }
                };
                in_band(result.map(marked)).map_err(Stop::Told)
            }
            ToolVerdict::Confirm(question) => self.confirm(question, id, arguments, arrived).await,
        }
    }

    /// What is written down and later sent are the arguments as the model said them, not as the agent did.
    async fn decide(
        &self,
        call: &ToolCall,
        tool_use_id: &str,
        digest: [u8; 32],
        said: Option<(Value, bool)>,
    ) -> Result<(ToolVerdict, Map<String, Value>), Stop> {
        let run = &self.run;
        let denied = |code| Stop::Denied(Denial::new(code, &call.name));
        let (was_emitted, honest) = (said.is_some(), said.as_ref().is_some_and(|(_, honest)| *honest));
        let arguments = match said {
            Some((Value::Object(arguments), _)) => arguments,
            Some(_) | None => Map::new(),
        };
        let said = run.dialogue().map(|dialogue| dialogue.known()).unwrap_or_default();
        let danger = run.app.manifest.agent.danger_induced_writes;
        // Nobody but the model can have a server asked what its tools are.
        let known = match was_emitted && run.app.manifest.tools.contains_key(&call.name) {
            true => Some(self.listed(call, tool_use_id).await?),
            false => None,
        };
        let listed = known.as_ref().map(|known| known.listed).unwrap_or_default();
        let request = ToolRequest {
            tool: call.name.clone(),
            arguments_digest: digest,
            emitted: was_emitted,
            honest: honest || danger,
            listed,
            ask_for_writes: false,
            strange_argument: run.app.manifest.strange_argument(&call.name, &arguments, &said).map(str::to_owned),
        };
        let verdict = admit_tool(request, &run.app.manifest, &run.view(), self.proxy.clock.now()).map_err(Stop::Denied)?;
        let class = match &verdict {
            ToolVerdict::Permit(permit) => permit.class(),
            ToolVerdict::Confirm(question) => question.class(),
        };
        self.proxy.pace_tool(run, act_of(class)).await.map_err(Stop::Denied)?;
        // Of several answers to one request one acts, and only as long as the conversation has not gone on.
        if honest && !run.dialogue().is_some_and(|dialogue| dialogue.act(tool_use_id)) {
            return Err(denied(DenialCode::ToolNotEmitted));
        }
        if let Some(known) = &known {
            fitting::check(&known.schema, &call.name, &arguments)?;
        }
        Ok((verdict, arguments))
    }

    /// What the tool's server says of it.
    async fn listed(&self, call: &ToolCall, id: &str) -> Result<Definition, Stop> {
        match self.proxy.definitions.of(&self.run.app, &user_ref(self.run.user), &call.name, false).await {
            Ok(Some(listed)) => Ok(listed),
            Ok(None) => Err(Stop::Denied(Denial::new(DenialCode::ToolUnknown, &call.name))),
            Err(error) => {
                self.tell(id, &call.name, UNREACHABLE.to_owned(), false, None).await;
                Err(Stop::Told(error))
            }
        }
    }

    /// Has its owner asked, and waits for a while.
    async fn confirm(
        &self,
        question: ToolQuestion,
        id: &str,
        arguments: Map<String, Value>,
        arrived: Instant,
    ) -> Result<Value, Stop> {
        let (run, tool) = (&self.run, question.request().tool.clone());
        let asked = Asked {
            app: &run.app,
            question,
            tool_use_id: id,
            asked_by: None,
            arguments,
            until: arrived + self.proxy.confirmation_wait,
            over: run.over(),
        };
        let shown =
            |confirmation| run.tell(RunEvent::ConfirmationAsked { call_id: id.to_owned(), confirmation: Box::new(confirmation) });
        match confirm::ask(&self.proxy, asked, shown).await {
            Ok(answer) => {
                let Answer { result, ok, waits, text, code, undo } = answer;
                if ok {
                    self.vouch(&tool, &result);
                }
                let denial = code.map(|code| Denial::new(code, &tool));
                let call_id = id.to_owned();
                run.tell(RunEvent::ToolResult { call_id, tool, ok, result: text, denial, waits, undo }).await;
                Ok(result)
            }
            Err(AskError::Open(error)) => Err(error.into()),
            Err(AskError::Host(error)) => {
                self.tell(id, &tool, UNREACHABLE.to_owned(), false, None).await;
                Err(Stop::Told(error))
            }
        }
    }

    /// Remembers what a tool returned whose word counts for arguments.
    fn vouch(&self, tool: &str, result: &Value) {
        if let (Some(dialogue), true) = (self.run.dialogue(), self.run.app.manifest.vouches(tool)) {
            dialogue.vouched(tool, result);
        }
    }

    /// Calls a tool that only reads.
    async fn read(
        &self,
        reading: ReadCall,
        tool_use_id: &str,
        arguments: Map<String, Value>,
    ) -> Result<Result<Value, HostError>, Stop> {
        let (tool, mut answered) = (reading.tool().to_owned(), None);
        let answer = |result, state, text: &str| answered = Some((result, state, text.to_owned()));
        carry_out_read(&self.proxy, &self.run.app, reading, arguments, (None, &Back::default()), answer).await?;
        let Some((result, state, text)) = answered else {
            return Err(Stop::Told(HostError::Uncertain("the read was given up".to_owned())));
        };
        if let Ok(result) = &result {
            self.vouch(&tool, result);
        }
        self.tell(tool_use_id, &tool, text, state == ToolState::Done, None).await;
        Ok(result)
    }

    /// Calls a tool that changes something; using up the open call is what allows it.
    async fn run_tool(&self, open: OpenToolCall, tool_use_id: &str, arguments: Map<String, Value>) -> Result<Value, HostError> {
        let (app, tool) = (&self.run.app, open.permit().request().tool.clone());
        let Outcome { result, state, text, undo } = carry_out(&self.proxy, app, open, arguments, Map::new()).await;
        if let Ok(result) = &result {
            self.vouch(&tool, result);
        }
        self.tell(tool_use_id, &tool, text, state == ToolState::Done, undo).await;
        result.map_err(|error| unreachable_app(app, error))
    }

    async fn tell(&self, tool_use_id: &str, tool: &str, result: String, ok: bool, undo: Option<CallId>) {
        let (call_id, tool) = (tool_use_id.to_owned(), tool.to_owned());
        self.run.tell(RunEvent::ToolResult { call_id, tool, ok, result, denial: None, waits: false, undo }).await;
    }

    /// The model is told what to correct; the user and the record are told that it was.
    async fn correct(&self, misfit: Misfit, tool_use_id: &str, tool: &str) -> Value {
        let Misfit { denial, text, result } = misfit;
        self.told_refused(denial, text, tool_use_id, tool).await;
        capped(result)
    }

    async fn told_refused(&self, denial: Denial, result: String, tool_use_id: &str, tool: &str) {
        if self.run.record_denial() {
            self.proxy.record(AuditEvent::Denied { run: Some(self.run.run), denial: denial.clone() }).await;
            let (call_id, tool, denial) = (tool_use_id.to_owned(), tool.to_owned(), Some(denial));
            self.run.tell(RunEvent::ToolResult { call_id, tool, ok: false, result, denial, waits: false, undo: None }).await;
        }
    }

    /// A refusal reaches the model as a failed tool, the user as an event, and the record.
    async fn refuse(&self, denial: Denial, tool_use_id: &str, tool: &str) -> HostError {
        let code = denial.code;
        self.proxy.judge(&self.run, Act::Denied).await;
        self.told_refused(denial, code.sentence().to_owned(), tool_use_id, tool).await;
        HostError::Denied { code: code.as_str(), message: code.sentence() }
    }
}

/// A tool's server that knows no such tool, or not these arguments, is an answer to the model: agents put other words around faults
/// of the protocol.
fn in_band(result: Result<Value, HostError>) -> Result<Value, HostError> {
    match result {
        Err(error @ (HostError::Unknown | HostError::Needs(_))) => {
            let text = front::sentence(&error);
            Ok(json!({"content": [{"type": "text", "text": text}], "isError": true, "_meta": {"hexward/reason": "tool.unknown"}}))
        }
        other => other,
    }
}

impl ToolHost for RunTools {
    fn server(&self) -> ServerInfo {
        server_info(&self.run.app)
    }

    fn tools(&self) -> BoxFuture<'_, Result<Vec<Value>, HostError>> {
        Box::pin(async move {
            let tools = offered(&self.proxy, &self.run.app, &user_ref(self.run.user), self.run.writes).await?;
            if let Some(dialogue) = self.run.dialogue() {
                dialogue.listed(&tools);
            }
            Ok(tools)
        })
    }

    fn call(&self, call: ToolCall) -> BoxFuture<'_, Result<Value, HostError>> {
        Box::pin(Self::call(self, call))
    }

    fn resources(&self) -> BoxFuture<'_, Result<Vec<Value>, HostError>> {
        Box::pin(resources(&self.run.app, self.run.user))
    }

    fn resource_templates(&self) -> BoxFuture<'_, Result<Vec<Value>, HostError>> {
        Box::pin(resource_templates(&self.run.app, self.run.user))
    }

    fn read_resource<'a>(&'a self, uri: &'a str) -> BoxFuture<'a, Result<Value, HostError>> {
        Box::pin(read_resource(&self.run.app, self.run.user, uri))
    }
}
