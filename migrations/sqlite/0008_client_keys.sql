-- Keys by which people's own clients reach the tools of one app (mcp), and agents elsewhere for one request (mcp-session). They belong
-- to the user whose data they open.
ALTER TABLE caller_keys ADD COLUMN purpose TEXT NOT NULL DEFAULT 'model' CHECK (purpose IN ('model', 'mcp', 'mcp-session'));
-- The key that made this one, and takes it along when it ends.
ALTER TABLE caller_keys ADD COLUMN made_by TEXT;
-- Which of its agent's sessions it is.
ALTER TABLE caller_keys ADD COLUMN generation INTEGER NOT NULL DEFAULT 0;
CREATE INDEX caller_keys_made_by ON caller_keys (made_by);

-- Stands in the tool journal where a run would: the calls that one key made at one gateway in an hour.
CREATE TABLE client_windows (
    id TEXT NOT NULL PRIMARY KEY,
    key_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    app TEXT NOT NULL,
    gateway TEXT NOT NULL,
    opened_at INTEGER NOT NULL
) STRICT;
CREATE INDEX client_windows_by_gateway ON client_windows (gateway);
