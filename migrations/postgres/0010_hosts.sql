-- A fourth purpose of keys: the back end of a host application.
ALTER TABLE caller_keys DROP CONSTRAINT caller_keys_purpose_check;
ALTER TABLE caller_keys ADD CONSTRAINT caller_keys_purpose_check CHECK (purpose IN ('model', 'mcp', 'mcp-session', 'service'));

-- Assertions of hosts' users that were seen and are still good: each is bound to its bytes and to the key that showed it first, and
-- is spent by the first request that changes something.
CREATE TABLE host_assertions (
    host TEXT NOT NULL,
    assertion_digest BYTEA NOT NULL,
    token_digest BYTEA NOT NULL,
    key_id TEXT NOT NULL,
    spent BIGINT NOT NULL CHECK (spent IN (0, 1)),
    expires_at BIGINT NOT NULL,
    PRIMARY KEY (host, assertion_digest)
);
CREATE INDEX host_assertions_by_end ON host_assertions (expires_at);

-- What was begun under which idempotency key.
CREATE TABLE host_requests (
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    key_digest BYTEA NOT NULL,
    request_digest BYTEA NOT NULL,
    run_id TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (user_id, key_digest)
);
CREATE INDEX host_requests_by_age ON host_requests (created_at);

-- Tickets, each for the events of one run. Only their digests are kept.
CREATE TABLE run_tickets (
    token_digest BYTEA NOT NULL PRIMARY KEY,
    run_id TEXT NOT NULL,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    host TEXT NOT NULL,
    made_by TEXT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX run_tickets_by_end ON run_tickets (expires_at);

-- Links by which a host hands a user's confirmation over to their browser: a code that is good once, and the session it became,
-- which is for this confirmation alone.
CREATE TABLE confirmation_links (
    code_digest BYTEA NOT NULL PRIMARY KEY,
    session_digest BYTEA UNIQUE,
    confirmation_id TEXT NOT NULL,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    host TEXT NOT NULL,
    return_to TEXT,
    expires_at BIGINT NOT NULL
);
CREATE INDEX confirmation_links_by_end ON confirmation_links (expires_at);

CREATE INDEX runs_by_user ON runs (user_id, started_at);
