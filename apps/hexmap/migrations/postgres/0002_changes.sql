-- Every change of a map, so that it can be undone. An undo is a change too: it has the images of what it undoes, the other way round.
CREATE TABLE hexmap_changes (
    owner           TEXT    NOT NULL,
    id              TEXT    NOT NULL,
    -- The order of a person's changes.
    seq             BIGINT  NOT NULL,
    group_id        BIGINT  NOT NULL,
    kind            TEXT    NOT NULL CHECK (kind IN ('create', 'update', 'delete', 'move', 'swap')),
    path            TEXT    COLLATE "C" NOT NULL,
    -- The tile above it then; the root has none.
    parent_id       TEXT,
    -- Of a move: the other place.
    other_path      TEXT    COLLATE "C",
    other_parent_id TEXT,
    -- The change whose images these are, and whether they are meant the other way round.
    image           TEXT    NOT NULL,
    flipped         BIGINT  NOT NULL CHECK (flipped IN (0, 1)),
    -- What the images hold; 0 where they are another change's.
    tiles           BIGINT  NOT NULL,
    chars           BIGINT  NOT NULL,
    undoes          TEXT,
    undone_by       TEXT,
    created_at      BIGINT  NOT NULL,
    PRIMARY KEY (owner, id)
);

CREATE UNIQUE INDEX hexmap_changes_order ON hexmap_changes (owner, seq);

-- The touched tiles as they were before (side 0) and after (side 1). A move changes no texts, so it keeps none.
CREATE TABLE hexmap_images (
    owner      TEXT    NOT NULL,
    image      TEXT    NOT NULL,
    side       BIGINT  NOT NULL CHECK (side IN (0, 1)),
    path       TEXT    COLLATE "C" NOT NULL,
    id         TEXT    NOT NULL,
    item_type  TEXT    NOT NULL,
    title      TEXT,
    content    TEXT,
    preview    TEXT,
    link       TEXT,
    version    BIGINT  NOT NULL,
    created_at BIGINT  NOT NULL,
    updated_at BIGINT  NOT NULL,
    PRIMARY KEY (owner, image, side, path)
);
