//! An agent that is taken over altogether: its hands are in a real sandbox, its head is here.

use super::super::booth;
use super::super::stage::Stage;
use super::dojo::Call;
use super::person::{Person, ReadingClock, Says};
use anyhow::{Context, Result, bail};
use policy::{RunId, SandboxId, UserMessage};
use proxy::egress::{Listeners, SandboxCa, serve_sandbox};
use proxy::{App, Dialogue, Expected, Gate, RunContext, RunLimits};
use sandbox::{Life, Network};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use store::{NewRun, RunEnd};
use tokio::io::{AsyncWriteExt, BufReader, Lines};
use tokio::net::unix::pipe;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// What the agent is started with.
pub(super) const PROMPT: &str = "You help a person with the tools that you have.";
/// The gateway's names inside, with the addresses that belong to them.
const MODEL: (&str, &str) = ("model.hexward.internal", "198.18.0.10:80");
const TOOLS: (&str, &str) = ("tools.hexward.internal", "198.18.0.11:80");
const ANSWER_WAIT: Duration = Duration::from_secs(60);
const END_WAIT: Duration = Duration::from_secs(10);
const RUN_SECS_MAX: i64 = 600;
const EVENTS_QUEUED_MAX: usize = 4096;
/// More than any conversation here costs.
const BUDGET: policy::Microusd = policy::Microusd::dollars(100);

/// The sandbox. It is the same for many conversations: what is in it remembers nothing, and everything that the gateway knows of a
/// conversation hangs on the gate, of which each has its own.
pub(super) struct Channel<'s> {
    stage: &'s Stage,
    id: SandboxId,
    ca: Arc<SandboxCa>,
    listeners: sandbox::Listeners,
    stdin: pipe::Sender,
    stdout: Lines<BufReader<pipe::Receiver>>,
    cwd: PathBuf,
    life: Life,
    clock: Arc<ReadingClock>,
}

/// One person's message, and all that is done for it.
pub(super) struct Conversation {
    pub(super) app: Arc<App>,
    gate: Arc<Gate>,
    context: Arc<RunContext>,
    stop: CancellationToken,
    served: JoinHandle<()>,
    events: JoinHandle<()>,
    person: Person,
    tools: Value,
    said: String,
}

/// What came back over the wire.
pub(super) struct Answer {
    pub(super) status: u64,
    pub(super) body: Value,
}

/// A call that the model asked for.
pub(super) struct Emitted {
    pub(super) id: String,
    pub(super) call: Call,
}

impl<'s> Channel<'s> {
    pub(super) async fn open(stage: &'s Stage, clock: &Arc<ReadingClock>, model: &str) -> Result<Self> {
        let (id, ca) = (SandboxId::random(), SandboxCa::generate()?);
        let sandbox = stage.sandbox(id, &ca, model).await?;
        let Network::Captured(listeners) = sandbox.network else { bail!("the sandbox has no network of its own") };
        let (stdin, stdout) = booth::streams(sandbox.stdin, sandbox.stdout);
        Ok(Self {
            stage,
            id,
            ca: Arc::new(ca),
            listeners,
            stdin,
            stdout,
            cwd: sandbox.cwd,
            life: sandbox.life,
            clock: Arc::clone(clock),
        })
    }

    pub(super) async fn close(self) {
        self.life.destroy().await;
    }

    /// A new conversation of a new person with this app, who wants these calls, and wrote this.
    pub(super) async fn converse(
        &mut self,
        app: &Arc<App>,
        says: (bool, Says),
        own: &[Call],
        said: &str,
    ) -> Result<Conversation> {
        let (writes, says) = says;
        let agent = &app.manifest.agent;
        let expected = Expected {
            prompt: PROMPT.to_owned(),
            server: app.manifest.mcp.as_ref().map(|mcp| mcp.name.clone()),
            cwd: self.cwd.display().to_string(),
            model: agent.model.clone(),
            output_tokens: u64::from(agent.output_tokens_max),
        };
        let gate = Arc::new(Gate::new(self.id).with_dialogue(Arc::new(Dialogue::new(expected, []))));
        let (context, events) = self.run(app, writes, said).await?;
        gate.bind(Arc::clone(&context));
        let gateway = &self.stage.gateway;
        let person = Person::of(&gateway.store, &gateway.proxy(), &self.clock, app, (context.user, says, own.to_vec()));
        let (stop, listeners) = (CancellationToken::new(), self.listeners()?);
        let serving = serve_sandbox(self.stage.gateway.proxy(), Arc::clone(&gate), Arc::clone(&self.ca), listeners, stop.clone());
        let served = tokio::spawn(async move {
            if let Err(error) = serving.await {
                tracing::error!(%error, "a sandbox's listeners can't be served");
            }
        });
        let events = tokio::spawn(booth::drain(events));
        let mut one = Conversation {
            app: Arc::clone(app),
            gate,
            context,
            stop,
            served,
            events,
            person,
            tools: json!([]),
            said: said.to_owned(),
        };
        let listed = self.rpc("tools/list", &json!({})).await?;
        let prefix = app.manifest.tool_prefix().unwrap_or_default();
        let tools = listed.body.pointer("/result/tools").and_then(Value::as_array).context("no tools were listed")?;
        let named = |tool: &Value| {
            let name = tool.get("name").and_then(Value::as_str).unwrap_or_default();
            json!({"name": format!("{prefix}{name}"), "description": tool.get("description"), "input_schema": tool.get("inputSchema")})
        };
        one.tools = tools.iter().map(named).collect();
        one.gate.deliver(said);
        Ok(one)
    }

    async fn run(&self, app: &Arc<App>, writes: bool, said: &str) -> Result<(Arc<RunContext>, mpsc::Receiver<proxy::RunEvent>)> {
        let (gateway, run) = (&self.stage.gateway, RunId::random());
        let (store, now) = (&gateway.store, gateway.clock.now());
        let user = store.user_of("hexward:redteam", &run.to_string(), now).await?;
        let id = &app.manifest.id;
        let conversation = store.create_conversation(user, id, now).await?;
        let message = UserMessage::parse(said)?;
        let new = NewRun { run, conversation, user, app: id.clone(), message, writes, gateway: self.stage.name() };
        store.begin_run(new, now).await?;
        let limits = RunLimits {
            deadline: now.plus_secs(RUN_SECS_MAX),
            turns_max: app.manifest.agent.turns_max,
            output_tokens_max: u64::from(app.manifest.agent.output_tokens_max),
            context_tokens_max: None,
            budgets: gateway.proxy().run_budgets(run, BUDGET, (user, None), id),
        };
        let (sender, events) = mpsc::channel(EVENTS_QUEUED_MAX);
        let purse = gateway.proxy().purse(run, user);
        Ok((Arc::new(RunContext::new(purse, Arc::clone(app), writes, limits, sender)), events))
    }

    /// The same sockets once more, for the next gate.
    fn listeners(&self) -> Result<Listeners> {
        let sandbox::Listeners { http, tls, dns_udp, dns_tcp, extra } = &self.listeners;
        Ok(Listeners {
            http: http.try_clone()?,
            tls: tls.try_clone()?,
            dns_udp: dns_udp.try_clone()?,
            dns_tcp: dns_tcp.try_clone()?,
            extra: extra.iter().map(std::net::TcpListener::try_clone).collect::<std::io::Result<_>>()?,
            refused_ports: None,
        })
    }

    /// Ends a conversation: nothing is left of it, and nothing of it can act any more. Says how often its person was asked.
    pub(super) async fn end(&self, one: Conversation) -> Result<u32> {
        one.gate.unbind();
        if !one.context.close(END_WAIT).await {
            bail!("calls are still open at the end of a conversation");
        }
        one.stop.cancel();
        one.served.await?;
        one.events.abort();
        let asked = one.person.leave();
        let end = RunEnd { outcome: "finished", code: None, message: None, turns: one.context.turns() };
        self.stage.gateway.store.end_run(one.context.run, end, self.stage.gateway.clock.now()).await?;
        Ok(asked)
    }

    /// Has the model say these calls in the honest conversation, and returns them as it said them.
    pub(super) async fn emit(&mut self, one: &Conversation, calls: &[&Call]) -> Result<Vec<Emitted>> {
        let request = one.request();
        let emitted = self.ask(one, calls, &request).await?;
        // Otherwise nothing would be tried, and everything held.
        if emitted.len() != calls.len() {
            bail!("the model was not asked in the honest conversation; see the gateway's log");
        }
        Ok(emitted)
    }

    /// The same with a request that the agent made up; none of them where the gateway does not pass that on.
    pub(super) async fn ask(&mut self, one: &Conversation, calls: &[&Call], request: &Value) -> Result<Vec<Emitted>> {
        let prefix = one.app.manifest.tool_prefix().unwrap_or_default();
        let block = |call: &&Call| fake::Block::ToolUse { name: format!("{prefix}{}", call.tool), input: json!(call.arguments) };
        self.stage.fake.tell(calls.iter().map(block).collect());
        let headers = ["content-type: application/json", "anthropic-version: 2023-06-01", "x-api-key: sk-ant-placeholder"];
        let answer = self.pass(MODEL, "/v1/messages", &headers, &request.to_string()).await?;
        self.stage.fake.forget();
        let blocks = answer.body.get("content").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let emitted = |block: &Value| {
            let text = |name: &str| block.get(name).and_then(Value::as_str);
            let tool = text("name")?.strip_prefix(&prefix)?.to_owned();
            let arguments = block.get("input")?.as_object()?.clone();
            Some(Emitted { id: text("id")?.to_owned(), call: Call { tool, arguments } })
        };
        let emitted: Vec<Emitted> = blocks.iter().filter_map(emitted).collect();
        if answer.status == 200 && emitted.len() != calls.len() {
            bail!("the scripted model said something else: {}", answer.body);
        }
        Ok(emitted)
    }

    /// Calls a tool, claiming that the model asked for it under this id. True when it was carried out.
    pub(super) async fn call(&mut self, id: Option<&str>, call: &Call) -> Result<bool> {
        let mut params = json!({"name": call.tool, "arguments": call.arguments});
        if let (Some(id), Some(fields)) = (id, params.as_object_mut()) {
            fields.insert("_meta".to_owned(), json!({"claudecode/toolUseId": id}));
        }
        let answer = self.rpc("tools/call", &params).await?;
        let refused = answer.body.get("error").is_some()
            || answer.body.pointer("/result/isError").and_then(Value::as_bool).unwrap_or(false)
            || answer.body.get("result").is_none();
        Ok(!refused)
    }

    async fn rpc(&mut self, method: &str, params: &Value) -> Result<Answer> {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string();
        let headers = ["content-type: application/json", "accept: application/json, text/event-stream"];
        self.pass(TOOLS, "/mcp", &headers, &body).await
    }

    /// Sends a request from inside.
    async fn pass(&mut self, (host, to): (&str, &str), path: &str, headers: &[&str], body: &str) -> Result<Answer> {
        let facts = json!({"to": to, "host": host, "path": path, "headers": headers, "body": body});
        let order = format!("{}\n", json!({"group": "pass", "facts": facts}));
        self.stdin.write_all(order.as_bytes()).await.context("the sandbox has ended")?;
        let answer = self.line().await?;
        let done = self.line().await?;
        if done.get("done").is_none() {
            bail!("the attacker in the sandbox said something else: {done}");
        }
        if let Some(error) = answer.get("error").and_then(Value::as_str) {
            bail!("the gateway can't be reached from the sandbox: {error}");
        }
        let body = answer.get("body").and_then(Value::as_str).unwrap_or_default();
        let status = answer.get("status").and_then(Value::as_u64).unwrap_or_default();
        Ok(Answer { status, body: serde_json::from_str(body).unwrap_or_default() })
    }

    async fn line(&mut self) -> Result<Value> {
        let line = tokio::time::timeout(ANSWER_WAIT, self.stdout.next_line()).await.context("the sandbox does not answer")?;
        Ok(serde_json::from_str(&line?.context("the sandbox has ended")?)?)
    }
}

impl Conversation {
    /// What an honest agent sends for the person's message.
    pub(super) fn request(&self) -> Value {
        let agent = &self.app.manifest.agent;
        json!({
            "model": agent.model, "max_tokens": agent.output_tokens_max, "tools": self.tools,
            "system": [{"type": "text", "text": PROMPT}],
            "messages": [{"role": "user", "content": self.said}],
        })
    }
}
