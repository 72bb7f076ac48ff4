//! What host applications are told: an outbox that is written in the commit of what it tells of, and emptied by one gateway at a time
//! for each endpoint.
//!
//! Invariant: a try is counted before it is made, so that a gateway that dies in it makes it again, and no endless ones. Only who
//! holds an endpoint says what became of a try. Times are the database's.

mod row;

pub use row::{Delivery, DeliveryRow, WebhookRoute};

use crate::{Store, StoreError, Tx, Value, audit, statements};
use policy::{AuditEvent, HOST_ISSUER, Microusd, Timestamp, WebhookEvent};
use serde_json::{Value as Json, json};
use std::time::Duration;
use uuid::Uuid;

/// Longer than a try can take: who holds an endpoint lost it only if they are dead or asleep.
const HELD_SECS: i64 = 60;
/// Kept for a look: what was taken, and what was given up.
const DELIVERED_SECS: i64 = 7 * 86_400;
const DEAD_SECS: i64 = 30 * 86_400;
const LIST_MAX: i64 = 1000;
const ERROR_CHARS_MAX: usize = 200;

/// What a row is read as.
macro_rules! columns {
    () => {
        "SELECT id, host, endpoint, kind, subject, data, created_at, state, attempts, next_at, last_error FROM webhook_deliveries "
    };
}

statements! { ALL:
    UPSERT = "INSERT INTO webhook_endpoints (host, id, events) VALUES (?1, ?2, ?3) \
              ON CONFLICT (host, id) DO UPDATE SET events = excluded.events";
    ENDPOINTS = "SELECT host, id FROM webhook_endpoints ORDER BY host, id";
    REMOVE = "DELETE FROM webhook_endpoints WHERE host = ?1 AND id = ?2";
    OF_USER = "SELECT e.host, e.id, u.subject FROM users u JOIN webhook_endpoints e ON u.issuer = ?3 || e.host \
               WHERE u.id = ?1 AND e.events LIKE '%,' || ?2 || ',%' ORDER BY e.host, e.id";
    OF_HOST = "SELECT host, id FROM webhook_endpoints WHERE host = ?1 AND events LIKE '%,' || ?2 || ',%' ORDER BY id";
    READ_RUN = "SELECT user_id, conversation_id, app, cost_microusd, turns FROM runs WHERE id = ?1";
    READ_CONFIRMATION = "SELECT c.user_id, r.conversation_id, c.app, c.expires_at FROM confirmations c \
                         LEFT JOIN runs r ON r.id = c.run_id WHERE c.id = ?1";
    INSERT = "INSERT INTO webhook_deliveries (id, host, endpoint, kind, user_id, subject, data, created_at, state, attempts, next_at) \
              VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 'pending', 0, 0)";
    IS_DUE = "SELECT id FROM webhook_deliveries WHERE host = ?1 AND endpoint = ?2 AND state = 'pending' AND next_at <= ?3 LIMIT 1";
    HOLD = "UPDATE webhook_endpoints SET holder = ?3, held_until = ?4 \
            WHERE host = ?1 AND id = ?2 AND (holder IS NULL OR holder = ?3 OR held_until <= ?5)";
    LET_GO = "UPDATE webhook_endpoints SET holder = NULL, held_until = 0 WHERE holder = ?1";
    HOLDS = "SELECT id FROM webhook_endpoints WHERE host = ?1 AND id = ?2 AND holder = ?3";
    NEXT = concat!(columns!(), "WHERE host = ?1 AND endpoint = ?2 AND state = 'pending' AND next_at <= ?3 ORDER BY created_at, id LIMIT 1");
    TRY = "UPDATE webhook_deliveries SET attempts = attempts + 1, next_at = ?2 WHERE id = ?1 AND state = 'pending'";
    DELIVERED = "UPDATE webhook_deliveries SET state = 'delivered', ended_at = ?2, last_error = NULL WHERE id = ?1 AND state = 'pending'";
    LATER = "UPDATE webhook_deliveries SET next_at = ?2, last_error = ?3 WHERE id = ?1 AND state = 'pending'";
    DIE = "UPDATE webhook_deliveries SET state = 'dead', ended_at = ?2, last_error = ?3 WHERE id = ?1 AND state = 'pending'";
    PENDING_OF = concat!(columns!(), "WHERE host = ?1 AND endpoint = ?2 AND state = 'pending' ORDER BY created_at, id");
    RETRY = "UPDATE webhook_deliveries SET state = 'pending', attempts = 0, next_at = ?2, ended_at = NULL WHERE id = ?1 AND state = 'dead'";
    READ = concat!(columns!(), "WHERE id = ?1");
    LIST = concat!(columns!(), "WHERE state <> 'delivered' ORDER BY created_at, id LIMIT ?1");
    LIST_DEAD = concat!(columns!(), "WHERE state = 'dead' ORDER BY created_at, id LIMIT ?1");
    SWEEP = "DELETE FROM webhook_deliveries WHERE (state = 'delivered' AND ended_at <= ?1) OR (state = 'dead' AND ended_at <= ?2)";
}

/// Puts what an event tells host applications into the outbox. Most tell nobody.
pub(crate) fn note(tx: &mut dyn Tx, event: &AuditEvent, now: Timestamp) -> Result<(), StoreError> {
    #[expect(clippy::wildcard_enum_match_arm, reason = "what is told outside is named one by one; all else stays inside")]
    match event {
        AuditEvent::RunEnded { run, outcome, code } => {
            let Some(row) = tx.query_opt(READ_RUN, &[run.to_string().into()])? else { return Ok(()) };
            let data = json!({
                "run_id": run, "conversation_id": row.text(1)?, "app": row.text(2)?, "outcome": outcome, "code": code,
                "cost_microusd": row.int(3)?, "turns": row.int(4)?,
            });
            tell_of(tx, &row.text(0)?, WebhookEvent::RunFinished, &data, now)
        }
        AuditEvent::ConfirmationAsked { confirmation, run, tool, .. } => {
            let Some(row) = tx.query_opt(READ_CONFIRMATION, &[confirmation.to_string().into()])? else { return Ok(()) };
            let data = json!({
                "confirmation_id": confirmation, "run_id": run, "conversation_id": row.opt_text(1)?, "app": row.text(2)?, "tool": tool,
                "expires_at_ms": row.int(3)? / 1000,
            });
            tell_of(tx, &row.text(0)?, WebhookEvent::ConfirmationPending, &data, now)
        }
        AuditEvent::ConductRose { run, user, conduct } => {
            let data = json!({"run_id": run, "conduct": conduct});
            tell_of(tx, &user.to_string(), WebhookEvent::Anomaly, &data, now)
        }
        AuditEvent::BudgetAlert { scope, percent, limit, spent, .. } => {
            tell_of_budget(tx, scope, *percent, (*limit, *spent), now)
        }
        _ => Ok(()),
    }
}

/// A host application is told of its own budget and of its users', not of the operator's.
fn tell_of_budget(
    tx: &mut dyn Tx,
    scope: &str,
    percent: u8,
    (limit, spent): (Microusd, Microusd),
    now: Timestamp,
) -> Result<(), StoreError> {
    let event = WebhookEvent::BudgetThreshold;
    let data = |of: &str| json!({"budget": of, "percent": percent, "limit_microusd": limit, "spent_microusd": spent});
    if let Some(user) = scope.strip_prefix("user:") {
        return tell_of(tx, user, event, &data("user"), now);
    }
    let Some(host) = scope.strip_prefix("host:") else { return Ok(()) };
    for row in tx.query(OF_HOST, &[host.into(), event.as_str().into()])? {
        insert(tx, (&row.text(0)?, &row.text(1)?), event, (None, None), &data("host"), now)?;
    }
    Ok(())
}

/// Tells the endpoints of the host application whose user it is, if it is one's.
fn tell_of(tx: &mut dyn Tx, user: &str, event: WebhookEvent, data: &Json, now: Timestamp) -> Result<(), StoreError> {
    for row in tx.query(OF_USER, &[user.into(), event.as_str().into(), HOST_ISSUER.into()])? {
        insert(tx, (&row.text(0)?, &row.text(1)?), event, (Some(user), Some(row.text(2)?)), data, now)?;
    }
    Ok(())
}

fn insert(
    tx: &mut dyn Tx,
    (host, endpoint): (&str, &str),
    event: WebhookEvent,
    (user, subject): (Option<&str>, Option<String>),
    data: &Json,
    now: Timestamp,
) -> Result<(), StoreError> {
    let id = format!("msg_{}", Uuid::now_v7().simple());
    let params: [Value; 8] = [
        id.into(),
        host.into(),
        endpoint.into(),
        event.as_str().into(),
        user.into(),
        subject.into(),
        data.to_string().into(),
        now.0.into(),
    ];
    tx.execute(INSERT, &params).map(|_| ())
}

impl Store {
    /// Makes the endpoints those of the configuration. What waits for one that is gone is given up.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn set_webhooks(&self, routes: Vec<WebhookRoute>, now: Timestamp) -> Result<(), StoreError> {
        self.write(move |tx| {
            for row in tx.query(ENDPOINTS, &[])? {
                let (host, endpoint) = (row.text(0)?, row.text(1)?);
                if routes.iter().any(|route| route.host == host && route.endpoint == endpoint) {
                    continue;
                }
                for left in tx.query(PENDING_OF, &[(&host).into(), (&endpoint).into()])? {
                    die(tx, &DeliveryRow::of(&left)?, "the endpoint is no longer configured", now)?;
                }
                tx.execute(REMOVE, &[host.into(), endpoint.into()])?;
            }
            for WebhookRoute { host, endpoint, events } in &routes {
                let events: String = events.iter().map(|event| format!("{},", event.as_str())).collect();
                tx.execute(UPSERT, &[host.into(), endpoint.into(), format!(",{events}").into()])?;
            }
            Ok(())
        })
        .await
    }

    /// Takes the next try for an endpoint, if one is due and no other gateway delivers there. Whoever takes it makes it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn next_delivery(
        &self,
        host: &str,
        endpoint: &str,
        gateway: &str,
        now: Timestamp,
    ) -> Result<Option<Delivery>, StoreError> {
        let (host, endpoint, gateway) = (host.to_owned(), endpoint.to_owned(), gateway.to_owned());
        let place: [Value; 2] = [host.into(), endpoint.into()];
        let [host, endpoint] = place.clone();
        // Most of the time nothing is, and a look writes nothing.
        let due = self.read(move |tx| {
            let now = tx.clock(now)?;
            tx.query_opt(IS_DUE, &[host.clone(), endpoint.clone(), now.0.into()])
        });
        if due.await?.is_none() {
            return Ok(None);
        }
        self.write(move |tx| {
            let now = tx.clock(now)?;
            let [host, endpoint] = place.clone();
            let held_until = now.plus_secs(HELD_SECS).0;
            let hold = [host.clone(), endpoint.clone(), (&gateway).into(), held_until.into(), now.0.into()];
            if tx.execute(HOLD, &hold)? == 0 {
                return Ok(None);
            }
            let Some(row) = tx.query_opt(NEXT, &[host, endpoint, now.0.into()])? else { return Ok(None) };
            let row = DeliveryRow::of(&row)?;
            tx.execute(TRY, &[(&row.id).into(), held_until.into()])?;
            let body = row.body();
            let attempt = u32::try_from(row.attempts).unwrap_or(u32::MAX).saturating_add(1);
            Ok(Some(Delivery { id: row.id, host: row.host, attempt, body }))
        })
        .await
    }

    /// Writes down that a try was answered well. Only who holds the endpoint can; a later holder makes the try again.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn delivered(&self, id: &str, gateway: &str, now: Timestamp) -> Result<(), StoreError> {
        self.settle_delivery(id, gateway, now, |tx, row, now| {
            tx.execute(DELIVERED, &[(&row.id).into(), now.0.into()]).map(|_| ())
        })
        .await
    }

    /// Writes down that a try failed: the next one comes after `wait`; without one it is given up, with an audit entry.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn not_delivered(
        &self,
        id: &str,
        gateway: &str,
        reason: &str,
        wait: Option<Duration>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let reason: String = reason.chars().filter(|c| !c.is_control()).take(ERROR_CHARS_MAX).collect();
        self.settle_delivery(id, gateway, now, move |tx, row, now| match wait {
            None => die(tx, row, &reason, now),
            Some(wait) => {
                let micros = i64::try_from(wait.as_micros()).unwrap_or(i64::MAX);
                let next = now.0.saturating_add(micros);
                tx.execute(LATER, &[(&row.id).into(), next.into(), (&reason).into()]).map(|_| ())
            }
        })
        .await
    }

    async fn settle_delivery(
        &self,
        id: &str,
        gateway: &str,
        now: Timestamp,
        settle: impl Fn(&mut dyn Tx, &DeliveryRow, Timestamp) -> Result<(), StoreError> + Send + Sync + 'static,
    ) -> Result<(), StoreError> {
        let (id, gateway) = (id.to_owned(), gateway.to_owned());
        self.write(move |tx| {
            let now = tx.clock(now)?;
            let Some(row) = tx.query_opt(READ, &[(&id).into()])? else { return Ok(()) };
            let row = DeliveryRow::of(&row)?;
            let holds = tx.query_opt(HOLDS, &[(&row.host).into(), (&row.endpoint).into(), (&gateway).into()])?;
            if holds.is_some() { settle(tx, &row, now) } else { Ok(()) }
        })
        .await
    }

    /// Lets others deliver at once: a gateway that ends.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn let_webhooks_go(&self, gateway: &str) -> Result<(), StoreError> {
        let gateway = gateway.to_owned();
        self.write(move |tx| tx.execute(LET_GO, &[(&gateway).into()]).map(|_| ())).await
    }

    /// What waits and what was given up, the oldest first, a thousand at most.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn webhook_deliveries(&self) -> Result<Vec<DeliveryRow>, StoreError> {
        self.read(|tx| tx.query(LIST, &[LIST_MAX.into()])?.iter().map(DeliveryRow::of).collect()).await
    }

    /// Has one that was given up tried again, or a thousand of them; returns how many.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn retry_webhooks(&self, id: Option<&str>, now: Timestamp) -> Result<u64, StoreError> {
        let id = id.map(str::to_owned);
        self.write(move |tx| {
            let now = tx.clock(now)?;
            let rows = match &id {
                Some(id) => tx.query(READ, &[id.into()])?,
                None => tx.query(LIST_DEAD, &[LIST_MAX.into()])?,
            };
            let mut count = 0;
            for row in rows {
                let row = DeliveryRow::of(&row)?;
                if tx.execute(RETRY, &[(&row.id).into(), now.0.into()])? == 1 {
                    audit::append(tx, &row.event("retried"), now)?;
                    count += 1;
                }
            }
            Ok(count)
        })
        .await
    }

    /// Forgets what is over for long; returns how many.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn sweep_webhooks(&self, now: Timestamp) -> Result<u64, StoreError> {
        self.write(move |tx| {
            let now = tx.clock(now)?;
            tx.execute(SWEEP, &[now.plus_secs(-DELIVERED_SECS).0.into(), now.plus_secs(-DEAD_SECS).0.into()])
        })
        .await
    }
}

fn die(tx: &mut dyn Tx, row: &DeliveryRow, reason: &str, now: Timestamp) -> Result<(), StoreError> {
    if tx.execute(DIE, &[(&row.id).into(), now.0.into(), reason.into()])? == 1 {
        audit::append(tx, &row.event("dead"), now)?;
    }
    Ok(())
}
