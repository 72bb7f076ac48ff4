-- One row is one tile. Its path is its place; its parent is the row whose path is one step shorter.
CREATE TABLE hexmap_tiles (
    owner      TEXT    NOT NULL,
    group_id   INTEGER NOT NULL CHECK (group_id >= 0),
    path       TEXT    NOT NULL CHECK (length(path) <= 255),
    id         TEXT    NOT NULL,
    item_type  TEXT    NOT NULL CHECK ((path = '') = (item_type = 'user')),
    title      TEXT    NOT NULL,
    content    TEXT    NOT NULL,
    preview    TEXT,
    link       TEXT,
    version    INTEGER NOT NULL CHECK (version > 0),
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (owner, group_id, path)
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX hexmap_tiles_id ON hexmap_tiles (owner, id);
