//! What a test asks the database, on either engine.

use policy::Timestamp;
use store::{Row, Statement, Store, StoreError};

const ACTIVE_RUNS: Statement = Statement("SELECT CAST(COUNT(*) AS BIGINT) FROM runs WHERE state = 'active'");
const ACTIVE_RUN_IDS: Statement = Statement("SELECT id FROM runs WHERE state = 'active'");
const OPEN_TOOL_CALLS: Statement = Statement("SELECT CAST(COUNT(*) AS BIGINT) FROM tool_calls WHERE state = 'open'");
const RESERVED: Statement = Statement("SELECT CAST(COALESCE(SUM(reserved_microusd), 0) AS BIGINT) FROM ledger_accounts");
const ACCOUNT: Statement = Statement(
    "SELECT CAST(COALESCE(SUM(settled_microusd), 0) AS BIGINT), CAST(COALESCE(SUM(reserved_microusd), 0) AS BIGINT) \
     FROM ledger_accounts WHERE scope = ?1",
);
const CALLS: Statement = Statement(
    "SELECT outcome, reserved_microusd, CAST(COALESCE(cost_microusd, -1) AS BIGINT), path, provider FROM model_calls ORDER BY opened_at, id",
);
const ALERTS: Statement = Statement("SELECT detail FROM audit_log WHERE kind = 'budget.alert' ORDER BY id");
const ABOVE: Statement = Statement(
    "SELECT reserved_microusd, CAST(cost_microusd AS BIGINT) FROM model_calls WHERE cost_microusd > reserved_microusd ORDER BY opened_at, id",
);
const TOLD_ABOVE: Statement = Statement("SELECT detail FROM audit_log WHERE kind = 'model_call.above_ceiling' ORDER BY id");
const AUDITED: Statement = Statement("SELECT detail FROM audit_log");
const SAID: Statement = Statement(
    "SELECT c.user_id, m.conversation_id, m.seq, m.content FROM messages m JOIN conversations c ON c.id = m.conversation_id",
);
const DENIED: Statement = Statement("SELECT detail FROM audit_log WHERE kind = 'denied' ORDER BY id");
const CONDUCT: Statement =
    Statement("SELECT detail FROM audit_log WHERE kind IN ('conduct.rose', 'challenge.ended') ORDER BY id");
const CALLERS_REFUSED: Statement = Statement("SELECT detail FROM audit_log WHERE kind = 'caller.refused' ORDER BY id");
const CLAIMED: Statement = Statement("SELECT detail FROM audit_log WHERE kind = 'sandbox.claimed' ORDER BY id");
const PORTS: Statement = Statement("SELECT detail FROM audit_log WHERE kind = 'ports.refused' ORDER BY id");
const RUN: Statement = Statement("SELECT state, code FROM runs WHERE id = ?1");
const TOOLS: Statement = Statement("SELECT tool, state FROM tool_calls ORDER BY opened_at, id");
const TOOL_USE_IDS: Statement = Statement("SELECT tool_use_id FROM tool_calls ORDER BY opened_at, id");
const BY_PEOPLE: Statement = Statement(
    "SELECT user_id, tool, effect, state FROM tool_calls WHERE run_id = id AND tool_use_id = 'person' ORDER BY opened_at, id",
);
const BY_PEOPLE_AUDITED: Statement = Statement("SELECT detail FROM audit_log WHERE kind = 'person_call.opened' ORDER BY id");

const CONFIRMATIONS: Statement = Statement("SELECT state FROM confirmations ORDER BY created_at, id");
const EXECUTING: Statement =
    Statement("SELECT CAST(COUNT(*) AS BIGINT) FROM confirmations WHERE state IN ('approved', 'executing')");
const TOO_MANY: Statement = Statement("SELECT detail FROM audit_log WHERE kind = 'rate.refused' ORDER BY id");

const HOSTS_REFUSED: Statement = Statement("SELECT detail FROM audit_log WHERE kind = 'host.refused' ORDER BY id");

/// A model call as the ledger has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// `measured`, `unknown`, `not_charged.STATUS`; none while it is open.
    pub outcome: Option<String>,
    /// Set aside before it left.
    pub reserved: i64,
    /// Charged; -1 while it is open.
    pub cost: i64,
    /// The path at the provider.
    pub path: String,
    /// The provider's name.
    pub provider: String,
}

/// A gateway's database.
#[derive(Clone)]
pub struct Database(pub Store);

impl Database {
    async fn rows(&self, statement: Statement, id: Option<&str>) -> Vec<Row> {
        let id: Vec<_> = id.map(|id| id.to_owned().into()).into_iter().collect();
        let read = self.0.read(move |tx| tx.query(statement, &id)).await;
        read.unwrap_or_else(|error: StoreError| panic!("{}: {error}", statement.0))
    }

    async fn number(&self, statement: Statement) -> i64 {
        self.rows(statement, None).await[0].int(0).unwrap()
    }

    /// What people did with their own hands, the oldest first: user, tool, effect, state.
    pub async fn person_calls(&self) -> Vec<(String, String, String, String)> {
        let text = |row: &Row, at| row.text(at).unwrap();
        let calls = self.rows(BY_PEOPLE, None).await;
        calls.iter().map(|row| (text(row, 0), text(row, 1), text(row, 2), text(row, 3))).collect()
    }

    /// What the audit log says of it.
    pub async fn audited_person_calls(&self) -> Vec<serde_json::Value> {
        let entries = self.rows(BY_PEOPLE_AUDITED, None).await;
        entries.iter().map(|row| serde_json::from_str(&row.text(0).unwrap()).unwrap()).collect()
    }

    /// Runs going on.
    pub async fn active_runs(&self) -> i64 {
        self.number(ACTIVE_RUNS).await
    }

    /// Their ids.
    pub async fn active_run_ids(&self) -> Vec<String> {
        self.rows(ACTIVE_RUN_IDS, None).await.iter().map(|row| row.text(0).unwrap()).collect()
    }

    /// Every model call, the oldest first.
    pub async fn calls(&self) -> Vec<Call> {
        let call = |row: &Row| Call {
            outcome: row.opt_text(0).unwrap(),
            reserved: row.int(1).unwrap(),
            cost: row.int(2).unwrap(),
            path: row.text(3).unwrap(),
            provider: row.text(4).unwrap(),
        };
        self.rows(CALLS, None).await.iter().map(call).collect()
    }

    /// Calls that cost more than was set aside for them: (reserved, cost). The audit log tells of each.
    pub async fn above_ceilings(&self) -> Vec<(i64, i64)> {
        let told = |row: &Row| {
            let detail: serde_json::Value = serde_json::from_str(&row.text(0).unwrap()).unwrap();
            (detail["reserved_microusd"].as_i64().unwrap(), detail["cost_microusd"].as_i64().unwrap())
        };
        let told: Vec<_> = self.rows(TOLD_ABOVE, None).await.iter().map(told).collect();
        let there = self.rows(ABOVE, None).await;
        let mut there: Vec<_> = there.iter().map(|row| (row.int(0).unwrap(), row.int(1).unwrap())).collect();
        let mut sorted = told.clone();
        sorted.sort_unstable();
        there.sort_unstable();
        assert_eq!(sorted, there, "what is above its ceiling is told, and nothing else");
        told
    }

    /// Every tool call: (tool, state).
    pub async fn tool_calls(&self) -> Vec<(String, String)> {
        self.rows(TOOLS, None).await.iter().map(|row| (row.text(0).unwrap(), row.text(1).unwrap())).collect()
    }

    /// The model's own ids of every tool call.
    pub async fn tool_use_ids(&self) -> Vec<String> {
        self.rows(TOOL_USE_IDS, None).await.iter().map(|row| row.text(0).unwrap()).collect()
    }

    /// Where every confirmation stands, the oldest first.
    pub async fn confirmations(&self) -> Vec<String> {
        self.rows(CONFIRMATIONS, None).await.iter().map(|row| row.text(0).unwrap()).collect()
    }

    /// A run's state and code.
    pub async fn run(&self, id: &str) -> (String, Option<String>) {
        let rows = self.rows(RUN, Some(id)).await;
        (rows[0].text(0).unwrap(), rows[0].opt_text(1).unwrap())
    }

    /// Everything refused and written down: `code wanted`.
    pub async fn denials(&self) -> Vec<String> {
        let shown = |row: &Row| {
            let detail: serde_json::Value = serde_json::from_str(&row.text(0).unwrap()).unwrap();
            format!("{} {}", detail["code"].as_str().unwrap(), detail["wanted"].as_str().unwrap())
        };
        self.rows(DENIED, None).await.iter().map(shown).collect()
    }

    /// How conduct rose, and what people said to it: `hasty`, `suspicious`, `hostile`; `true`, `false`, `null`.
    pub async fn conduct(&self) -> Vec<String> {
        let shown = |row: &Row| {
            let detail: serde_json::Value = serde_json::from_str(&row.text(0).unwrap()).unwrap();
            detail["conduct"].as_str().map_or_else(|| detail["goes_on"].to_string(), str::to_owned)
        };
        self.rows(CONDUCT, None).await.iter().map(shown).collect()
    }

    /// Shares of a budget at which the operator was told, in order.
    pub async fn alerts(&self, scope: &str) -> Vec<u64> {
        let of_scope = |alert: &(String, u64)| alert.0 == scope;
        self.every_alert().await.into_iter().filter(of_scope).map(|(_, percent)| percent).collect()
    }

    /// (account, percent) of every alert, in order.
    pub async fn every_alert(&self) -> Vec<(String, u64)> {
        let alert = |row: &Row| {
            let detail: serde_json::Value = serde_json::from_str(&row.text(0).unwrap()).unwrap();
            (detail["scope"].as_str().unwrap().to_owned(), detail["percent"].as_u64().unwrap())
        };
        self.rows(ALERTS, None).await.iter().map(alert).collect()
    }

    /// An account of every day: (settled, reserved).
    pub async fn ever(&self, scope: &str) -> (i64, i64) {
        let rows = self.rows(ACCOUNT, Some(scope)).await;
        (rows[0].int(0).unwrap(), rows[0].int(1).unwrap())
    }

    /// Micro-dollars set aside in all accounts.
    pub async fn reserved(&self) -> i64 {
        self.number(RESERVED).await
    }

    /// Why remote callers were not let in, as far as it was written down.
    pub async fn caller_refusals(&self) -> Vec<String> {
        let fault = |row: &Row| {
            let detail: serde_json::Value = serde_json::from_str(&row.text(0).unwrap()).unwrap();
            detail["fault"].as_str().unwrap().to_owned()
        };
        self.rows(CALLERS_REFUSED, None).await.iter().map(fault).collect()
    }

    /// Which of a key's limits were reached, and how often that was not written down before.
    pub async fn rate_refusals(&self) -> Vec<(String, u64)> {
        let told = |row: &Row| {
            let detail: serde_json::Value = serde_json::from_str(&row.text(0).unwrap()).unwrap();
            assert!(detail["key"].as_str().is_some_and(|key| !key.is_empty()), "{detail}");
            (detail["code"].as_str().unwrap().to_owned(), detail["unwritten"].as_u64().unwrap())
        };
        self.rows(TOO_MANY, None).await.iter().map(told).collect()
    }

    /// Why back ends of hosts were refused, as far as it was written down.
    pub async fn host_refusals(&self) -> Vec<String> {
        let code = |row: &Row| {
            let detail: serde_json::Value = serde_json::from_str(&row.text(0).unwrap()).unwrap();
            detail["code"].as_str().unwrap().to_owned()
        };
        self.rows(HOSTS_REFUSED, None).await.iter().map(code).collect()
    }

    /// The sandboxes that were handed to runs, in order.
    pub async fn claimed(&self) -> Vec<String> {
        let sandbox = |row: &Row| {
            let detail: serde_json::Value = serde_json::from_str(&row.text(0).unwrap()).unwrap();
            detail["sandbox"].as_str().unwrap().to_owned()
        };
        self.rows(CLAIMED, None).await.iter().map(sandbox).collect()
    }

    /// What sandboxes that ended had tried at ports which nobody has.
    pub async fn ports_refused(&self) -> Vec<serde_json::Value> {
        self.rows(PORTS, None).await.iter().map(|row| serde_json::from_str(&row.text(0).unwrap()).unwrap()).collect()
    }

    /// An account of today (UTC): (settled, reserved).
    pub async fn today(&self, scope: &str, now: Timestamp) -> (i64, i64) {
        let (settled, reserved) = self.0.account(scope, now.utc_day()).await.unwrap();
        (settled.0, reserved.0)
    }

    /// What must not be when nothing is going on, in words.
    pub(crate) async fn unfinished(&self) -> Vec<String> {
        let mut found = Vec::new();
        let counts = [
            ("open reservations", self.0.open_model_calls().await.unwrap()),
            ("micro-dollars still reserved", self.reserved().await),
            ("active runs", self.active_runs().await),
            ("open tool calls", self.number(OPEN_TOOL_CALLS).await),
            ("confirmed calls on their way", self.number(EXECUTING).await),
        ];
        found.extend(counts.into_iter().filter(|(_, count)| *count != 0).map(|(what, count)| format!("{count} {what}")));
        found
    }

    /// Everything written down in words.
    pub(crate) async fn texts(&self) -> Vec<u8> {
        let said = self.0.read(|tx| {
            let mut said = String::new();
            for row in tx.query(SAID, &[])? {
                let place = format!("{}:{}", row.text(1)?, row.int(2)?);
                let key = tx.key_of(&row.text(0)?, None)?;
                said.push_str(&key.open(store::Place::new("messages", "content", &place), &row.text(3)?)?);
            }
            Ok::<_, StoreError>(said)
        });
        let said = said.await.unwrap_or_else(|error| panic!("what was said can't be read: {error}"));
        let rows = self.rows(AUDITED, None).await;
        rows.iter().flat_map(|row| row.text(0).unwrap().into_bytes()).chain(said.into_bytes()).collect()
    }
}
