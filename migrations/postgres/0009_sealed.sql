-- A data key for each user, wrapped by a master key that is not in the database. Without its row nothing of that user can be read.
CREATE TABLE user_keys (
    user_id TEXT NOT NULL PRIMARY KEY,
    -- The first bytes of the digest of the master key that wraps it.
    master TEXT NOT NULL,
    wrapped BYTEA NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX user_keys_by_master ON user_keys (master);

-- Who was erased, and when: they get no key again.
CREATE TABLE erasures (
    user_id TEXT NOT NULL PRIMARY KEY,
    erased_at BIGINT NOT NULL
);

-- One row, as soon as nothing is left that an older version wrote unsealed. A new database has nothing.
CREATE TABLE sealed_core (
    id BIGINT NOT NULL PRIMARY KEY CHECK (id = 1)
);
INSERT INTO sealed_core (id) SELECT 1
WHERE NOT EXISTS (SELECT 1 FROM conversations) AND NOT EXISTS (SELECT 1 FROM tool_calls) AND NOT EXISTS (SELECT 1 FROM confirmations);
