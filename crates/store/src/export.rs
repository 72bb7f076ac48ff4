//! Everything that is kept of a user, opened, for handing out: page by page, so that nobody's past is in memory as a whole. Each page is
//! a view of its own; what changes meanwhile is in the pages that come after it.
//!
//! Left out is what says nothing of them: digests (of tokens, of requests), and the ledger's single entries, of which the sums are told.

use crate::vault::message_row;
use crate::{Place, Row, Statement, Store, StoreError, UserKey, Value, statements};
use policy::{Timestamp, UserId};
use serde_json::{Map, Value as Json, json};

/// Rows of one page: a row may hold a whole result of a tool.
const ROWS: i64 = 16;

statements! { ALL:
    READ_USER = "SELECT issuer, subject, created_at FROM users WHERE id = ?1";
    /// The other statements: 1 the user or the conversation, 2 the last of the page before, 3 how many. First what pages go by.
    LIST_CONVERSATIONS = "SELECT id, app, title, created_at, updated_at FROM conversations WHERE user_id = ?1 AND id > ?2 ORDER BY id LIMIT ?3";
    LIST_MESSAGES = "SELECT seq, run_id, role, content, created_at FROM messages WHERE conversation_id = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3";
    LIST_RUNS = "SELECT id, conversation_id, app, state, code, message, writes, turns, cost_microusd, started_at, ended_at FROM runs \
                 WHERE user_id = ?1 AND id > ?2 ORDER BY id LIMIT ?3";
    LIST_CALLS = "SELECT id, run_id, app, tool, effect, arguments, state, result, undoes, opened_at, settled_at FROM tool_calls \
                  WHERE user_id = ?1 AND id > ?2 ORDER BY id LIMIT ?3";
    LIST_UNDOS = "SELECT u.call_id, u.inverse, u.arguments, u.undone FROM tool_undos u JOIN tool_calls c ON c.id = u.call_id \
                  WHERE c.user_id = ?1 AND u.call_id > ?2 ORDER BY u.call_id LIMIT ?3";
    LIST_CONFIRMATIONS = "SELECT id, run_id, app, tool, asked_by, arguments, class, summary, state, result, created_at, shown_at, \
                          expires_at, ended_at FROM confirmations WHERE user_id = ?1 AND id > ?2 ORDER BY id LIMIT ?3";
    LIST_KEYS = "SELECT id, name, purpose, scope, created_at, expires_at, revoked_at, used_at FROM caller_keys \
                 WHERE user_id = ?1 AND id > ?2 ORDER BY id LIMIT ?3";
    LIST_WEBHOOKS = "SELECT id, kind, subject, data, state, created_at, ended_at FROM webhook_deliveries \
                     WHERE user_id = ?1 AND id > ?2 ORDER BY id LIMIT ?3";
    SUM_USAGE = "SELECT model, CAST(COUNT(*) AS BIGINT), CAST(COALESCE(SUM(cost_microusd), 0) AS BIGINT), \
                 CAST(COALESCE(SUM(input_tokens), 0) AS BIGINT), CAST(COALESCE(SUM(output_tokens), 0) AS BIGINT), \
                 CAST(COALESCE(SUM(cache_read_tokens), 0) AS BIGINT), CAST(COALESCE(SUM(cache_write_tokens), 0) AS BIGINT) \
                 FROM model_calls WHERE state = 'settled' AND run_id IN (SELECT id FROM runs WHERE user_id = ?1 \
                 UNION SELECT id FROM client_windows WHERE user_id = ?1) GROUP BY model ORDER BY model";
}

/// How a column is read.
#[derive(Clone, Copy)]
enum As {
    /// A text or nothing.
    Text,
    /// A number or nothing.
    Number,
    /// Yes or no.
    Flag,
    /// Microseconds; told in milliseconds.
    Time,
    /// A text that is JSON.
    Json,
    /// A sealed text.
    Sealed,
    /// A sealed text that is JSON.
    SealedJson,
}

/// A kind of what is kept of a user.
#[derive(Clone, Copy)]
pub struct Section {
    /// Its name in the document.
    pub name: &'static str,
    table: &'static str,
    list: Statement,
    /// As they are called in the document, and there and then in the table where it is sealed.
    columns: &'static [(&'static str, As)],
}

/// Conversations; what was said in each is [`MESSAGES`].
pub const CONVERSATIONS: Section = Section {
    name: "conversations",
    table: "conversations",
    list: LIST_CONVERSATIONS,
    columns: &[
        ("id", As::Text),
        ("app", As::Text),
        ("title", As::Sealed),
        ("created_at_ms", As::Time),
        ("updated_at_ms", As::Time),
    ],
};

/// Of one conversation.
pub const MESSAGES: Section = Section {
    name: "messages",
    table: "messages",
    list: LIST_MESSAGES,
    columns: &[
        ("seq", As::Number),
        ("run_id", As::Text),
        ("role", As::Text),
        ("content", As::SealedJson),
        ("created_at_ms", As::Time),
    ],
};

/// All others.
pub const SECTIONS: [Section; 6] = [
    Section {
        name: "runs",
        table: "runs",
        list: LIST_RUNS,
        columns: &[
            ("id", As::Text),
            ("conversation_id", As::Text),
            ("app", As::Text),
            ("state", As::Text),
            ("code", As::Text),
            ("message", As::Sealed),
            ("writes", As::Flag),
            ("turns", As::Number),
            ("cost_microusd", As::Number),
            ("started_at_ms", As::Time),
            ("ended_at_ms", As::Time),
        ],
    },
    Section {
        name: "tool_calls",
        table: "tool_calls",
        list: LIST_CALLS,
        columns: &[
            ("id", As::Text),
            ("run_id", As::Text),
            ("app", As::Text),
            ("tool", As::Text),
            ("effect", As::Text),
            ("arguments", As::SealedJson),
            ("state", As::Text),
            ("result", As::SealedJson),
            ("undoes", As::Text),
            ("opened_at_ms", As::Time),
            ("settled_at_ms", As::Time),
        ],
    },
    Section {
        name: "undos",
        table: "tool_undos",
        list: LIST_UNDOS,
        columns: &[("call_id", As::Text), ("tool", As::Text), ("arguments", As::SealedJson), ("undone", As::Flag)],
    },
    Section {
        name: "confirmations",
        table: "confirmations",
        list: LIST_CONFIRMATIONS,
        columns: &[
            ("id", As::Text),
            ("run_id", As::Text),
            ("app", As::Text),
            ("tool", As::Text),
            ("asked_by", As::Text),
            ("arguments", As::SealedJson),
            ("class", As::Text),
            ("summary", As::Sealed),
            ("state", As::Text),
            ("result", As::SealedJson),
            ("created_at_ms", As::Time),
            ("shown_at_ms", As::Time),
            ("expires_at_ms", As::Time),
            ("ended_at_ms", As::Time),
        ],
    },
    Section {
        name: "keys",
        table: "caller_keys",
        list: LIST_KEYS,
        columns: &[
            ("id", As::Text),
            ("name", As::Text),
            ("purpose", As::Text),
            ("scope", As::Json),
            ("created_at_ms", As::Time),
            ("expires_at_ms", As::Time),
            ("revoked_at_ms", As::Time),
            ("used_at_ms", As::Time),
        ],
    },
    Section {
        name: "webhooks",
        table: "webhook_deliveries",
        list: LIST_WEBHOOKS,
        columns: &[
            ("id", As::Text),
            ("kind", As::Text),
            ("subject", As::Text),
            ("data", As::Json),
            ("state", As::Text),
            ("created_at_ms", As::Time),
            ("ended_at_ms", As::Time),
        ],
    },
];

/// A user as they are known.
#[derive(Clone, Debug)]
pub struct UserRow {
    /// Who said who they are.
    pub issuer: String,
    /// Their name there.
    pub subject: String,
    /// When they were first seen.
    pub created_at: Timestamp,
}

/// One page of a section.
#[derive(Debug)]
pub struct Page {
    /// Its rows as they are handed out.
    pub rows: Vec<Json>,
    /// What the next page is asked for with; none on the last.
    pub next: Option<Value>,
}

impl Section {
    /// What the first page is asked for with.
    #[must_use]
    pub fn begin(&self) -> Value {
        match self.columns {
            [(_, As::Number), ..] => Value::Int(i64::MIN),
            _ => Value::Text(String::new()),
        }
    }
}

impl Store {
    /// The user's own record.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn user_row(&self, user: UserId) -> Result<Option<UserRow>, StoreError> {
        self.read(move |tx| {
            let row = tx.query_opt(READ_USER, &[user.to_string().into()])?;
            let read = |row: Row| Ok(UserRow { issuer: row.text(0)?, subject: row.text(1)?, created_at: Timestamp(row.int(2)?) });
            row.map(read).transpose()
        })
        .await
    }

    /// A page of what is kept of a user; of messages, of one conversation of theirs.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn export_page(
        &self,
        user: UserId,
        section: Section,
        conversation: Option<String>,
        after: Value,
    ) -> Result<Page, StoreError> {
        self.read(move |tx| {
            let user = user.to_string();
            let of = conversation.as_ref().unwrap_or(&user);
            let found = tx.query(section.list, &[of.into(), after.clone(), ROWS.into()])?;
            let key = tx.key_of(&user, None)?;
            let rows = found.iter().map(|row| told(&key, &section, conversation.as_deref(), row));
            let rows = rows.collect::<Result<Vec<_>, StoreError>>()?;
            let is_last = i64::try_from(found.len()).unwrap_or(i64::MAX) < ROWS;
            let next = found.last().filter(|_| !is_last).and_then(|row| row.0.first()).cloned();
            Ok(Page { rows, next })
        })
        .await
    }

    /// What the user's model calls used, by model.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn usage_of(&self, user: UserId) -> Result<Vec<Json>, StoreError> {
        self.read(move |tx| {
            let rows = tx.query(SUM_USAGE, &[user.to_string().into()])?;
            let row = |row: &Row| {
                Ok(json!({
                    "model": row.text(0)?, "calls": row.int(1)?, "cost_microusd": row.int(2)?, "input_tokens": row.int(3)?,
                    "output_tokens": row.int(4)?, "cache_read_tokens": row.int(5)?, "cache_write_tokens": row.int(6)?,
                }))
            };
            rows.iter().map(row).collect()
        })
        .await
    }
}

fn told(key: &UserKey, section: &Section, conversation: Option<&str>, row: &Row) -> Result<Json, StoreError> {
    let name = match conversation {
        Some(conversation) => message_row(conversation, row.int(0)?),
        None => row.text(0)?,
    };
    let mut out = Map::new();
    for (index, (column, form)) in section.columns.iter().enumerate() {
        let open = || key.open_opt(Place::new(section.table, column, &name), row.opt_text(index)?.as_deref());
        let value = match form {
            As::Text => row.opt_text(index)?.into(),
            As::Number => row.opt_int(index)?.into(),
            As::Flag => row.bool(index)?.into(),
            As::Time => row.opt_int(index)?.map(|micros| Timestamp(micros).as_millis()).into(),
            As::Json => read(row.opt_text(index)?),
            As::Sealed => open()?.into(),
            As::SealedJson => read(open()?),
        };
        out.insert((*column).to_owned(), value);
    }
    Ok(out.into())
}

/// What is no JSON, or breaks off, is told as the text it is.
fn read(text: Option<String>) -> Json {
    text.map_or(Json::Null, |text| serde_json::from_str(&text).unwrap_or(Json::String(text)))
}
