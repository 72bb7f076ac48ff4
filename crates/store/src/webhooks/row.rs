//! Rows of the outbox, and what is sent of them.

use crate::StoreError;
use policy::{AuditEvent, Timestamp, WebhookEvent};
use serde_json::{Value as Json, json};

/// Where a host application wants to be told what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookRoute {
    /// The host application.
    pub host: String,
    /// Its endpoint.
    pub endpoint: String,
    /// Of these.
    pub events: Vec<WebhookEvent>,
}

/// One try, which has to be made now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The same for each try.
    pub id: String,
    /// Whose.
    pub host: String,
    /// The try's number, from 1.
    pub attempt: u32,
    /// What is sent.
    pub body: String,
}

/// A delivery as it stands in the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryRow {
    /// Its id.
    pub id: String,
    /// Whose.
    pub host: String,
    /// Where to.
    pub endpoint: String,
    /// `run.finished` and so on.
    pub kind: String,
    /// Of which of the host's users.
    pub subject: Option<String>,
    /// What is told, as JSON.
    pub data: String,
    /// When it happened.
    pub created_at: Timestamp,
    /// `pending`, `delivered` or `dead`.
    pub state: String,
    /// Tries made.
    pub attempts: i64,
    /// When the next one is due.
    pub next_at: Timestamp,
    /// What became of the last one.
    pub last_error: Option<String>,
}

impl DeliveryRow {
    pub(super) fn of(row: &crate::Row) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.text(0)?,
            host: row.text(1)?,
            endpoint: row.text(2)?,
            kind: row.text(3)?,
            subject: row.opt_text(4)?,
            data: row.text(5)?,
            created_at: Timestamp(row.int(6)?),
            state: row.text(7)?,
            attempts: row.int(8)?,
            next_at: Timestamp(row.int(9)?),
            last_error: row.opt_text(10)?,
        })
    }

    pub(super) fn event(&self, outcome: &'static str) -> AuditEvent {
        AuditEvent::Webhook { delivery: self.id.clone(), endpoint: format!("{}/{}", self.host, self.endpoint), outcome }
    }

    /// What is sent, the same bytes with each try.
    pub(super) fn body(&self) -> String {
        let user = self.subject.as_ref().map(|subject| json!({"subject": subject}));
        let data: Json = serde_json::from_str(&self.data).unwrap_or(Json::Null);
        json!({
            "id": self.id, "type": self.kind, "created_at_ms": self.created_at.0 / 1000, "host": self.host, "user": user, "data": data,
        })
        .to_string()
    }
}
