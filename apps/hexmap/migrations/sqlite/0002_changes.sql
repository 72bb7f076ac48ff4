-- Every change of a map, so that it can be undone. An undo is a change too: it has the images of what it undoes, the other way round.
CREATE TABLE hexmap_changes (
    owner           TEXT    NOT NULL,
    id              TEXT    NOT NULL,
    -- The order of a person's changes.
    seq             INTEGER NOT NULL,
    group_id        INTEGER NOT NULL,
    kind            TEXT    NOT NULL CHECK (kind IN ('create', 'update', 'delete', 'move', 'swap')),
    path            TEXT    NOT NULL,
    -- The tile above it then; the root has none.
    parent_id       TEXT,
    -- Of a move: the other place.
    other_path      TEXT,
    other_parent_id TEXT,
    -- The change whose images these are, and whether they are meant the other way round.
    image           TEXT    NOT NULL,
    flipped         INTEGER NOT NULL CHECK (flipped IN (0, 1)),
    -- What the images hold; 0 where they are another change's.
    tiles           INTEGER NOT NULL,
    chars           INTEGER NOT NULL,
    undoes          TEXT,
    undone_by       TEXT,
    created_at      INTEGER NOT NULL,
    PRIMARY KEY (owner, id)
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX hexmap_changes_order ON hexmap_changes (owner, seq);

-- The touched tiles as they were before (side 0) and after (side 1). A move changes no texts, so it keeps none.
CREATE TABLE hexmap_images (
    owner      TEXT    NOT NULL,
    image      TEXT    NOT NULL,
    side       INTEGER NOT NULL CHECK (side IN (0, 1)),
    path       TEXT    NOT NULL,
    id         TEXT    NOT NULL,
    item_type  TEXT    NOT NULL,
    title      TEXT,
    content    TEXT,
    preview    TEXT,
    link       TEXT,
    version    INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (owner, image, side, path)
) STRICT, WITHOUT ROWID;
