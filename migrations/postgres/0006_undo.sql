-- Undos stand in the journal like every call, beside the agent's call that they are about.
ALTER TABLE tool_calls ADD COLUMN undoes TEXT;
-- Which gateway makes an undo, so that it knows after a restart which never came back. None: a command, which is given a time.
ALTER TABLE tool_calls ADD COLUMN gateway TEXT;
CREATE INDEX tool_calls_open_undos ON tool_calls (opened_at) WHERE undoes IS NOT NULL AND state = 'open';

-- The way back from an agent's call, as its app said it.
CREATE TABLE tool_undos (
    call_id TEXT NOT NULL PRIMARY KEY REFERENCES tool_calls (id) ON DELETE CASCADE,
    -- The tool that undoes it or, while it is undone, that does it again. None: there is no way on.
    inverse TEXT,
    arguments TEXT,
    undone BIGINT NOT NULL CHECK (undone IN (0, 1)),
    -- The undo that is under way, or of which nobody knows whether it took effect: until then there is no other.
    pending TEXT
);
