-- A fourth purpose of keys: the back end of a host application. SQLite can't change a check, so the table is made anew.
CREATE TABLE caller_keys_new (
    id TEXT NOT NULL PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    token_digest BLOB NOT NULL UNIQUE,
    name TEXT NOT NULL,
    scope TEXT NOT NULL,
    source TEXT NOT NULL CHECK (source IN ('made', 'environment')),
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    -- In the future while a rotation's grace lasts.
    revoked_at INTEGER,
    used_at INTEGER,
    purpose TEXT NOT NULL DEFAULT 'model' CHECK (purpose IN ('model', 'mcp', 'mcp-session', 'service')),
    -- The key that made this one, and takes it along when it ends.
    made_by TEXT,
    -- Which of its agent's sessions it is.
    generation INTEGER NOT NULL DEFAULT 0
) STRICT;
INSERT INTO caller_keys_new
    SELECT id, user_id, token_digest, name, scope, source, created_at, expires_at, revoked_at, used_at, purpose, made_by, generation
    FROM caller_keys;
DROP TABLE caller_keys;
ALTER TABLE caller_keys_new RENAME TO caller_keys;
CREATE INDEX caller_keys_by_user ON caller_keys (user_id);
CREATE INDEX caller_keys_made_by ON caller_keys (made_by);

-- Assertions of hosts' users that were seen and are still good: each is bound to its bytes and to the key that showed it first, and
-- is spent by the first request that changes something.
CREATE TABLE host_assertions (
    host TEXT NOT NULL,
    assertion_digest BLOB NOT NULL,
    token_digest BLOB NOT NULL,
    key_id TEXT NOT NULL,
    spent INTEGER NOT NULL CHECK (spent IN (0, 1)),
    expires_at INTEGER NOT NULL,
    PRIMARY KEY (host, assertion_digest)
) STRICT;
CREATE INDEX host_assertions_by_end ON host_assertions (expires_at);

-- What was begun under which idempotency key.
CREATE TABLE host_requests (
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    key_digest BLOB NOT NULL,
    request_digest BLOB NOT NULL,
    run_id TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (user_id, key_digest)
) STRICT;
CREATE INDEX host_requests_by_age ON host_requests (created_at);

-- Tickets, each for the events of one run. Only their digests are kept.
CREATE TABLE run_tickets (
    token_digest BLOB NOT NULL PRIMARY KEY,
    run_id TEXT NOT NULL,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    host TEXT NOT NULL,
    made_by TEXT NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT;
CREATE INDEX run_tickets_by_end ON run_tickets (expires_at);

-- Links by which a host hands a user's confirmation over to their browser: a code that is good once, and the session it became,
-- which is for this confirmation alone.
CREATE TABLE confirmation_links (
    code_digest BLOB NOT NULL PRIMARY KEY,
    session_digest BLOB UNIQUE,
    confirmation_id TEXT NOT NULL,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    host TEXT NOT NULL,
    return_to TEXT,
    expires_at INTEGER NOT NULL
) STRICT;
CREATE INDEX confirmation_links_by_end ON confirmation_links (expires_at);

CREATE INDEX runs_by_user ON runs (user_id, started_at);
