//! Every story of the store, told on both engines: what must hold on SQLite must hold on PostgreSQL, word for word.

mod alerts;
mod client_keys;
mod confirmations;
mod conversations;
mod definitions;
mod hosts;
mod keys;
mod ledger;
mod migrations;
mod rates;
mod runs;
mod support;
mod tools;
mod trouble;
mod undo;
mod users;
mod vault;
mod webhooks;
