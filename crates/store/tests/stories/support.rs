//! A fresh database of either engine, and the things stories are about.

use policy::{
    BudgetLine, CacheWrites, Clock, ConversationId, DenialCode, Manifest, Microusd, ModelPath, ModelPermit, ModelRequest, Prices,
    Prompt, RunId, RunView, Timestamp, ToolListed, ToolPermit, ToolQuestion, ToolRequest, ToolVerdict, UserId, UserMessage,
    admit_model, admit_tool,
};
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use store::{CORE, Ledger, Masters, NewRun, Row, Statement, Store, StoreError};
use tempfile::TempDir;
use testkit::Postgres;

/// When the stories begin.
pub const NOW: Timestamp = Timestamp(1_800_000_000_000_000);
pub const GATEWAY: &str = "gateway-1";
pub const APP: &str = "demo";
/// A life of the machine.
pub const BOOT: &str = "boot-1";

/// A clock that stands at [`NOW`].
pub struct Standing;

impl Clock for Standing {
    fn now(&self) -> Timestamp {
        NOW
    }
}

/// An empty database with the core's tables.
pub struct Db {
    pub store: Store,
    pub url: String,
    /// For a SQLite file and the journals of ledgers; removed at the end.
    folder: TempDir,
}

impl Db {
    pub async fn sqlite() -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let url = format!("sqlite:{}", folder.path().join("hexward.db").display());
        Self { store: open(&url, folder.path()).await, url, folder }
    }

    pub async fn postgres() -> Self {
        let url = Postgres::shared().fresh_database();
        let folder = TempDir::new().expect("a temporary folder");
        Self { store: open(&url, folder.path()).await, url, folder }
    }

    /// The same database as a second gateway sees it.
    pub async fn second(&self) -> Store {
        open(&self.url, self.folder.path()).await
    }

    /// The ledger of a gateway in its life `BOOT` of the machine; whatever an earlier one left is taken over.
    pub async fn ledger(&self, gateway: &str) -> Ledger {
        self.ledger_after(gateway, BOOT).await.0
    }

    /// The same in another life of the machine, and how many calls had been left open.
    pub async fn ledger_after(&self, gateway: &str, boot: &str) -> (Ledger, u64) {
        let store = self.second().await;
        Ledger::open(&store, Arc::new(Standing), gateway, &self.journals(gateway), boot).await.expect("a ledger")
    }

    /// Where a gateway keeps its journal.
    pub fn journals(&self, gateway: &str) -> std::path::PathBuf {
        self.folder.path().join(format!("journal-{gateway}"))
    }

    /// Where its master key is.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Looks at the tables directly.
    pub async fn count(&self, sql: &'static str) -> i64 {
        let read = self.store.read(move |tx| tx.query_one(Statement(sql), &[]).and_then(|row: Row| row.int(0))).await;
        read.unwrap_or_else(|error: StoreError| panic!("{sql}: {error}"))
    }

    /// Changes the tables directly, as no room would.
    pub async fn execute(&self, sql: &'static str) {
        let done = self.store.write(move |tx| tx.execute(Statement(sql), &[])).await;
        done.unwrap_or_else(|error: StoreError| panic!("{sql}: {error}"));
    }

    pub async fn user(&self) -> UserId {
        let subject = RunId::random().to_string();
        self.store.user_of("local", &subject, NOW).await.expect("a new user")
    }

    pub async fn conversation(&self, user: UserId) -> ConversationId {
        self.store.create_conversation(user, APP, NOW).await.expect("a new conversation")
    }
}

async fn open(url: &str, folder: &Path) -> Store {
    let store = Store::open(url, &[&CORE]).await.unwrap_or_else(|error| panic!("{error}"));
    let masters = Masters::kept_in(folder).unwrap_or_else(|error| panic!("{error}"));
    store.with_masters(masters).await.unwrap_or_else(|error| panic!("{error}"))
}

/// Tells one story on both engines, as two tests.
macro_rules! on_both_engines {
    ($($story:ident;)*) => {$(
        mod $story {
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_sqlite() {
                super::$story(crate::support::Db::sqlite().await).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_postgres() {
                super::$story(crate::support::Db::postgres().await).await;
            }
        }
    )*};
}
pub(crate) use on_both_engines;

/// Starts them all at once and waits for all.
pub async fn at_once<T: Send + 'static, F: Future<Output = T> + Send + 'static>(all: impl IntoIterator<Item = F>) -> Vec<T> {
    let tasks: Vec<_> = all.into_iter().map(tokio::spawn).collect();
    let mut results = Vec::new();
    for task in tasks {
        results.push(task.await.expect("no task panics"));
    }
    results
}

pub fn new_run(user: UserId, conversation: ConversationId) -> NewRun {
    NewRun {
        run: RunId::random(),
        conversation,
        user,
        app: APP.to_owned(),
        message: UserMessage::parse("Create a tile called Aurora").expect("a good message"),
        writes: true,
        gateway: GATEWAY.to_owned(),
    }
}

/// A permitted model call that reserves [`ceiling`] in `budgets`.
pub fn model_permit(run: RunId, user: UserId, budgets: Vec<BudgetLine>) -> ModelPermit {
    let request = ModelRequest {
        body: policy::RequestBody::default(),
        path: ModelPath::Messages,
        model: "claude-sonnet-5-5".to_owned(),
        max_tokens: 1000,
        body_bytes: 2000,
        prompt: Prompt { new_bytes: 2000, ..Prompt::default() },
        cache_writes: CacheWrites::OneHour,
        forbidden_feature: None,
    };
    admit_model(request, &view(run, user, budgets), &Prices::default(), NOW).expect("nothing speaks against it")
}

/// What one such call reserves.
pub fn ceiling() -> Microusd {
    model_permit(RunId::random(), UserId::random(), Vec::new()).ceiling()
}

/// A budget that never renews.
pub fn budget(scope: &str, limit: Microusd, exhausted: DenialCode) -> BudgetLine {
    BudgetLine { scope: scope.to_owned(), period: 0, limit, exhausted }
}

/// An app with a tool that changes things, and one that can't be undone.
pub fn manifest() -> Manifest {
    let manifest = "id = \"demo\"\ntitle = \"Demo\"\ngreeting = \"Hello\"\n[agent]\nmodel = \"m\"\n\
                    [mcp]\nname = \"demo\"\nserver = \"builtin\"\n[tools.delete]\neffect = \"write\"\n[tools.change]\neffect = \"write\"\n\
                    destructive = false\nopen_world = false\ninverse = \"undo\"\n";
    Manifest::parse(manifest).expect("a good manifest")
}

fn verdict(tool: &str, run: RunId, user: UserId) -> ToolVerdict {
    let request = ToolRequest {
        tool: tool.to_owned(),
        arguments_digest: [9; 32],
        emitted: true,
        honest: true,
        listed: ToolListed::default(),
        ask_for_writes: false,
        strange_argument: None,
    };
    admit_tool(request, &manifest(), &view(run, user, Vec::new()), NOW).expect("nothing speaks against it")
}

/// A permitted tool call.
pub fn tool_permit(run: RunId, user: UserId) -> ToolPermit {
    match verdict("change", run, user) {
        ToolVerdict::Permit(permit) => permit,
        ToolVerdict::Confirm(question) => panic!("{question:?} is asked"),
    }
}

/// One that has to be confirmed.
pub fn tool_question(run: RunId, user: UserId) -> ToolQuestion {
    match verdict("delete", run, user) {
        ToolVerdict::Confirm(question) => question,
        ToolVerdict::Permit(permit) => panic!("{permit:?} is not asked"),
    }
}

fn view(run: RunId, user: UserId, budgets: Vec<BudgetLine>) -> RunView {
    RunView {
        run,
        user,
        key: None,
        models: None,
        turns_used: 0,
        turns_max: 50,
        output_tokens_max: 4000,
        context_tokens_max: None,
        deadline: NOW.plus_secs(300),
        writes: true,
        budgets: budgets.into(),
    }
}
