-- What was open under the former rules is charged at what was reserved: its gateway has ended, or it would not be migrating.
UPDATE ledger_accounts SET settled_microusd = settled_microusd + reserved_microusd, reserved_microusd = 0;
UPDATE model_calls SET state = 'settled', cost_microusd = reserved_microusd, outcome = 'unknown', settled_at = opened_at
WHERE state = 'open';
DROP TABLE model_call_accounts;

-- A slice is taken out of every budget above a run (or a remote caller's window) in a durable commit; calls reserve inside it.
-- Invariant: an account's reserved amount is the sum of granted - settled over the open slices taken from it.
CREATE TABLE ledger_slices (
    id TEXT NOT NULL PRIMARY KEY,
    run_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    gateway TEXT NOT NULL,
    -- Which journal holds what was reserved and settled inside, and in which life of its machine: after a power loss that
    -- journal may have lost its end, so the slice is charged in full.
    journal TEXT NOT NULL,
    boot TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('open', 'closed')),
    granted_microusd INTEGER NOT NULL CHECK (granted_microusd >= 0),
    settled_microusd INTEGER NOT NULL CHECK (settled_microusd >= 0),
    opened_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    closed_at INTEGER
) STRICT;
CREATE INDEX ledger_slices_open ON ledger_slices (gateway, expires_at) WHERE state = 'open';

CREATE TABLE ledger_slice_accounts (
    slice_id TEXT NOT NULL REFERENCES ledger_slices (id) ON DELETE CASCADE,
    scope TEXT NOT NULL,
    period INTEGER NOT NULL,
    limit_microusd INTEGER NOT NULL,
    PRIMARY KEY (slice_id, scope, period)
) STRICT;

ALTER TABLE model_calls ADD COLUMN slice_id TEXT NOT NULL DEFAULT '';
ALTER TABLE model_calls ADD COLUMN app TEXT NOT NULL DEFAULT '';
ALTER TABLE model_calls ADD COLUMN caller_key TEXT NOT NULL DEFAULT '';
ALTER TABLE model_calls ADD COLUMN labels TEXT NOT NULL DEFAULT '';
ALTER TABLE model_calls ADD COLUMN provider TEXT NOT NULL DEFAULT '';
ALTER TABLE model_calls ADD COLUMN status INTEGER;
ALTER TABLE model_calls ADD COLUMN cache_write_1h_tokens INTEGER;
ALTER TABLE model_calls ADD COLUMN first_byte_us INTEGER;
ALTER TABLE model_calls ADD COLUMN total_us INTEGER;
ALTER TABLE model_calls ADD COLUMN error TEXT;
DROP INDEX model_calls_open;
CREATE INDEX model_calls_open ON model_calls (slice_id) WHERE state = 'open';
