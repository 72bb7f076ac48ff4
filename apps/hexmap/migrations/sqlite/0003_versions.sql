-- Who may be shown a tile (nobody but its owner, as long as nothing is shared), who wrote what it holds, and whether the owner
-- has yet to look at what an agent did to it.
ALTER TABLE hexmap_tiles ADD COLUMN visibility TEXT NOT NULL DEFAULT 'private' CHECK (visibility IN ('private', 'public'));
ALTER TABLE hexmap_tiles ADD COLUMN written_by TEXT NOT NULL DEFAULT 'agent' CHECK (written_by IN ('agent', 'person'));
ALTER TABLE hexmap_tiles ADD COLUMN unseen INTEGER NOT NULL DEFAULT 0 CHECK (unseen IN (0, 1));

-- Images of changes hold them too, the first two where they hold texts.
ALTER TABLE hexmap_images ADD COLUMN visibility TEXT;
ALTER TABLE hexmap_images ADD COLUMN written_by TEXT;
ALTER TABLE hexmap_images ADD COLUMN unseen INTEGER NOT NULL DEFAULT 0;
UPDATE hexmap_images SET visibility = 'private', written_by = 'agent' WHERE title IS NOT NULL;

-- Depth and path, "2:1,3": a listing reads level by level, and each is one range of this index, however large the map is.
ALTER TABLE hexmap_tiles ADD COLUMN place TEXT GENERATED ALWAYS AS
    (CAST(CASE WHEN path = '' THEN 0 ELSE LENGTH(path) - LENGTH(REPLACE(path, ',', '')) + 1 END AS TEXT) || ':' || path) VIRTUAL;
CREATE INDEX hexmap_tiles_place ON hexmap_tiles (owner, group_id, place);
CREATE INDEX hexmap_tiles_unseen ON hexmap_tiles (owner, group_id, path) WHERE unseen = 1;

-- What each map holds, counted by the database itself, so that no statement can forget it.
CREATE TABLE hexmap_maps (
    owner    TEXT    NOT NULL,
    group_id INTEGER NOT NULL,
    tiles    INTEGER NOT NULL CHECK (tiles >= 0),
    bytes    INTEGER NOT NULL CHECK (bytes >= 0),
    revision INTEGER NOT NULL,
    PRIMARY KEY (owner, group_id)
) STRICT, WITHOUT ROWID;
INSERT INTO hexmap_maps (owner, group_id, tiles, bytes, revision)
    SELECT owner, group_id, COUNT(*),
           SUM(OCTET_LENGTH(title) + OCTET_LENGTH(content) + OCTET_LENGTH(COALESCE(preview, '')) + OCTET_LENGTH(COALESCE(link, ''))), 1
    FROM hexmap_tiles GROUP BY owner, group_id;

CREATE TRIGGER hexmap_tiles_added AFTER INSERT ON hexmap_tiles BEGIN
    INSERT INTO hexmap_maps (owner, group_id, tiles, bytes, revision)
    VALUES (NEW.owner, NEW.group_id, 1, OCTET_LENGTH(NEW.title) + OCTET_LENGTH(NEW.content)
            + OCTET_LENGTH(COALESCE(NEW.preview, '')) + OCTET_LENGTH(COALESCE(NEW.link, '')), 1)
    ON CONFLICT (owner, group_id) DO UPDATE
    SET tiles = tiles + 1, bytes = bytes + excluded.bytes, revision = revision + 1;
END;
CREATE TRIGGER hexmap_tiles_removed AFTER DELETE ON hexmap_tiles BEGIN
    UPDATE hexmap_maps SET tiles = tiles - 1, revision = revision + 1,
        bytes = bytes - OCTET_LENGTH(OLD.title) - OCTET_LENGTH(OLD.content)
                - OCTET_LENGTH(COALESCE(OLD.preview, '')) - OCTET_LENGTH(COALESCE(OLD.link, ''))
    WHERE owner = OLD.owner AND group_id = OLD.group_id;
END;
CREATE TRIGGER hexmap_tiles_changed AFTER UPDATE OF title, content, preview, link ON hexmap_tiles BEGIN
    UPDATE hexmap_maps SET revision = revision + 1,
        bytes = bytes + OCTET_LENGTH(NEW.title) + OCTET_LENGTH(NEW.content)
                + OCTET_LENGTH(COALESCE(NEW.preview, '')) + OCTET_LENGTH(COALESCE(NEW.link, ''))
                - OCTET_LENGTH(OLD.title) - OCTET_LENGTH(OLD.content)
                - OCTET_LENGTH(COALESCE(OLD.preview, '')) - OCTET_LENGTH(COALESCE(OLD.link, ''))
    WHERE owner = NEW.owner AND group_id = NEW.group_id;
END;
CREATE TRIGGER hexmap_tiles_moved AFTER UPDATE OF path ON hexmap_tiles BEGIN
    UPDATE hexmap_maps SET revision = revision + 1 WHERE owner = NEW.owner AND group_id = NEW.group_id;
END;

-- What a tile held before each change, kept by the database itself: the newest twenty.
CREATE TABLE hexmap_versions (
    owner       TEXT    NOT NULL,
    tile_id     TEXT    NOT NULL,
    number      INTEGER NOT NULL,
    item_type   TEXT    NOT NULL,
    title       TEXT    NOT NULL,
    content     TEXT    NOT NULL,
    preview     TEXT,
    link        TEXT,
    visibility  TEXT    NOT NULL,
    written_by  TEXT    NOT NULL,
    replaced_at INTEGER NOT NULL,
    PRIMARY KEY (owner, tile_id, number)
) STRICT, WITHOUT ROWID;
CREATE INDEX hexmap_versions_age ON hexmap_versions (owner, replaced_at);

CREATE TRIGGER hexmap_tiles_versioned
AFTER UPDATE OF title, content, preview, link, item_type, visibility ON hexmap_tiles
WHEN OLD.title IS NOT NEW.title OR OLD.content IS NOT NEW.content OR OLD.preview IS NOT NEW.preview OR OLD.link IS NOT NEW.link
     OR OLD.item_type IS NOT NEW.item_type OR OLD.visibility IS NOT NEW.visibility
BEGIN
    INSERT INTO hexmap_versions
        (owner, tile_id, number, item_type, title, content, preview, link, visibility, written_by, replaced_at)
    SELECT OLD.owner, OLD.id, COALESCE(MAX(number), 0) + 1, OLD.item_type, OLD.title, OLD.content, OLD.preview, OLD.link,
           OLD.visibility, OLD.written_by, NEW.updated_at
    FROM hexmap_versions WHERE owner = OLD.owner AND tile_id = OLD.id;
    DELETE FROM hexmap_versions WHERE owner = OLD.owner AND tile_id = OLD.id
        AND number <= (SELECT MAX(number) FROM hexmap_versions WHERE owner = OLD.owner AND tile_id = OLD.id) - 20;
END;

-- How much of that there is for each owner.
CREATE TABLE hexmap_owners (
    owner         TEXT    NOT NULL PRIMARY KEY,
    version_bytes INTEGER NOT NULL CHECK (version_bytes >= 0)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER hexmap_versions_added AFTER INSERT ON hexmap_versions BEGIN
    INSERT INTO hexmap_owners (owner, version_bytes)
    VALUES (NEW.owner, OCTET_LENGTH(NEW.title) + OCTET_LENGTH(NEW.content)
            + OCTET_LENGTH(COALESCE(NEW.preview, '')) + OCTET_LENGTH(COALESCE(NEW.link, '')) + 200)
    ON CONFLICT (owner) DO UPDATE SET version_bytes = version_bytes + excluded.version_bytes;
END;
CREATE TRIGGER hexmap_versions_removed AFTER DELETE ON hexmap_versions BEGIN
    UPDATE hexmap_owners SET version_bytes = version_bytes - OCTET_LENGTH(OLD.title) - OCTET_LENGTH(OLD.content)
        - OCTET_LENGTH(COALESCE(OLD.preview, '')) - OCTET_LENGTH(COALESCE(OLD.link, '')) - 200
    WHERE owner = OLD.owner;
END;
