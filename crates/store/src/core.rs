//! The gateway's own tables: users, sessions, conversations, runs, ledger, tool journal, audit log.

use crate::{
    Migration, Schema, alerts, audit, client_keys, confirmations, conversations, definitions, erase, host_users, hosts, keys,
    ledger, person_calls, rates, runs, tools, undo, users, vault, webhooks,
};

/// The schema every gateway has; apps bring theirs beside it.
pub static CORE: Schema = Schema {
    name: "core",
    sqlite: &[
        Migration { number: 1, name: "core", sql: include_str!("../../../migrations/sqlite/0001_core.sql") },
        Migration { number: 2, name: "ledger_slices", sql: include_str!("../../../migrations/sqlite/0002_ledger_slices.sql") },
        Migration { number: 3, name: "caller_keys", sql: include_str!("../../../migrations/sqlite/0003_caller_keys.sql") },
        Migration { number: 4, name: "rates", sql: include_str!("../../../migrations/sqlite/0004_rates.sql") },
        Migration { number: 5, name: "budget_alerts", sql: include_str!("../../../migrations/sqlite/0005_budget_alerts.sql") },
        Migration { number: 6, name: "undo", sql: include_str!("../../../migrations/sqlite/0006_undo.sql") },
        Migration { number: 7, name: "confirmations", sql: include_str!("../../../migrations/sqlite/0007_confirmations.sql") },
        Migration { number: 8, name: "client_keys", sql: include_str!("../../../migrations/sqlite/0008_client_keys.sql") },
        Migration { number: 9, name: "sealed", sql: include_str!("../../../migrations/sqlite/0009_sealed.sql") },
        Migration { number: 10, name: "hosts", sql: include_str!("../../../migrations/sqlite/0010_hosts.sql") },
        Migration { number: 11, name: "webhooks", sql: include_str!("../../../migrations/sqlite/0011_webhooks.sql") },
    ],
    postgres: &[
        Migration { number: 1, name: "core", sql: include_str!("../../../migrations/postgres/0001_core.sql") },
        Migration { number: 2, name: "ledger_slices", sql: include_str!("../../../migrations/postgres/0002_ledger_slices.sql") },
        Migration { number: 3, name: "caller_keys", sql: include_str!("../../../migrations/postgres/0003_caller_keys.sql") },
        Migration { number: 4, name: "rates", sql: include_str!("../../../migrations/postgres/0004_rates.sql") },
        Migration { number: 5, name: "budget_alerts", sql: include_str!("../../../migrations/postgres/0005_budget_alerts.sql") },
        Migration { number: 6, name: "undo", sql: include_str!("../../../migrations/postgres/0006_undo.sql") },
        Migration { number: 7, name: "confirmations", sql: include_str!("../../../migrations/postgres/0007_confirmations.sql") },
        Migration { number: 8, name: "client_keys", sql: include_str!("../../../migrations/postgres/0008_client_keys.sql") },
        Migration { number: 9, name: "sealed", sql: include_str!("../../../migrations/postgres/0009_sealed.sql") },
        Migration { number: 10, name: "hosts", sql: include_str!("../../../migrations/postgres/0010_hosts.sql") },
        Migration { number: 11, name: "webhooks", sql: include_str!("../../../migrations/postgres/0011_webhooks.sql") },
    ],
    statements: &[
        alerts::ALL,
        audit::ALL,
        client_keys::ALL,
        confirmations::ALL,
        conversations::ALL,
        definitions::ALL,
        erase::ALL,
        host_users::ALL,
        hosts::ALL,
        keys::ALL,
        ledger::ALL,
        person_calls::ALL,
        rates::ALL,
        runs::ALL,
        tools::ALL,
        undo::ALL,
        undo::PLANS,
        users::ALL,
        vault::ALL,
        webhooks::ALL,
    ],
};
