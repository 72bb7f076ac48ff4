-- Who may be shown a tile (nobody but its owner, as long as nothing is shared), who wrote what it holds, and whether the owner
-- has yet to look at what an agent did to it.
ALTER TABLE hexmap_tiles ADD COLUMN visibility TEXT NOT NULL DEFAULT 'private' CHECK (visibility IN ('private', 'public'));
ALTER TABLE hexmap_tiles ADD COLUMN written_by TEXT NOT NULL DEFAULT 'agent' CHECK (written_by IN ('agent', 'person'));
ALTER TABLE hexmap_tiles ADD COLUMN unseen BIGINT NOT NULL DEFAULT 0 CHECK (unseen IN (0, 1));

-- Images of changes hold them too, the first two where they hold texts.
ALTER TABLE hexmap_images ADD COLUMN visibility TEXT;
ALTER TABLE hexmap_images ADD COLUMN written_by TEXT;
ALTER TABLE hexmap_images ADD COLUMN unseen BIGINT NOT NULL DEFAULT 0;
UPDATE hexmap_images SET visibility = 'private', written_by = 'agent' WHERE title IS NOT NULL;

-- Depth and path, "2:1,3": a listing reads level by level, and each is one range of this index, however large the map is.
ALTER TABLE hexmap_tiles ADD COLUMN place TEXT COLLATE "C" GENERATED ALWAYS AS
    (CAST(CASE WHEN path = '' THEN 0 ELSE LENGTH(path) - LENGTH(REPLACE(path, ',', '')) + 1 END AS TEXT) || ':' || path) STORED;
CREATE INDEX hexmap_tiles_place ON hexmap_tiles (owner, group_id, place);
CREATE INDEX hexmap_tiles_unseen ON hexmap_tiles (owner, group_id, path) WHERE unseen = 1;

-- What each map holds, counted by the database itself, so that no statement can forget it.
CREATE TABLE hexmap_maps (
    owner    TEXT   NOT NULL,
    group_id BIGINT NOT NULL,
    tiles    BIGINT NOT NULL CHECK (tiles >= 0),
    bytes    BIGINT NOT NULL CHECK (bytes >= 0),
    revision BIGINT NOT NULL,
    PRIMARY KEY (owner, group_id)
);

CREATE FUNCTION hexmap_bytes(title TEXT, content TEXT, preview TEXT, link TEXT) RETURNS BIGINT LANGUAGE SQL IMMUTABLE AS $$
    SELECT CAST(OCTET_LENGTH(title) + OCTET_LENGTH(content) + OCTET_LENGTH(COALESCE(preview, '')) + OCTET_LENGTH(COALESCE(link, ''))
                AS BIGINT)
$$;

INSERT INTO hexmap_maps (owner, group_id, tiles, bytes, revision)
    SELECT owner, group_id, COUNT(*), SUM(hexmap_bytes(title, content, preview, link)), 1 FROM hexmap_tiles GROUP BY owner, group_id;

CREATE FUNCTION hexmap_tiles_added() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO hexmap_maps AS m (owner, group_id, tiles, bytes, revision)
        SELECT owner, group_id, COUNT(*), SUM(hexmap_bytes(title, content, preview, link)), 1 FROM added GROUP BY owner, group_id
        ON CONFLICT (owner, group_id) DO UPDATE
        SET tiles = m.tiles + excluded.tiles, bytes = m.bytes + excluded.bytes, revision = m.revision + 1;
    RETURN NULL;
END $$;
CREATE FUNCTION hexmap_tiles_removed() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN
    UPDATE hexmap_maps AS m SET tiles = m.tiles - gone.tiles, bytes = m.bytes - gone.bytes, revision = m.revision + 1
        FROM (SELECT owner, group_id, COUNT(*) AS tiles, SUM(hexmap_bytes(title, content, preview, link)) AS bytes
              FROM removed GROUP BY owner, group_id) AS gone
        WHERE m.owner = gone.owner AND m.group_id = gone.group_id;
    RETURN NULL;
END $$;
CREATE FUNCTION hexmap_tiles_changed() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN
    UPDATE hexmap_maps AS m SET bytes = m.bytes + diff.bytes, revision = m.revision + 1
        FROM (SELECT owner, group_id, SUM(bytes) AS bytes FROM
                  (SELECT owner, group_id, hexmap_bytes(title, content, preview, link) AS bytes FROM now_rows
                   UNION ALL
                   SELECT owner, group_id, -hexmap_bytes(title, content, preview, link) FROM old_rows) AS both_sides
              GROUP BY owner, group_id) AS diff
        WHERE m.owner = diff.owner AND m.group_id = diff.group_id;
    RETURN NULL;
END $$;
CREATE TRIGGER hexmap_tiles_added AFTER INSERT ON hexmap_tiles
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION hexmap_tiles_added();
CREATE TRIGGER hexmap_tiles_removed AFTER DELETE ON hexmap_tiles
    REFERENCING OLD TABLE AS removed FOR EACH STATEMENT EXECUTE FUNCTION hexmap_tiles_removed();
CREATE TRIGGER hexmap_tiles_changed AFTER UPDATE ON hexmap_tiles
    REFERENCING OLD TABLE AS old_rows NEW TABLE AS now_rows FOR EACH STATEMENT EXECUTE FUNCTION hexmap_tiles_changed();

-- What a tile held before each change, kept by the database itself: the newest twenty.
CREATE TABLE hexmap_versions (
    owner       TEXT   NOT NULL,
    tile_id     TEXT   NOT NULL,
    number      BIGINT NOT NULL,
    item_type   TEXT   NOT NULL,
    title       TEXT   NOT NULL,
    content     TEXT   NOT NULL,
    preview     TEXT,
    link        TEXT,
    visibility  TEXT   NOT NULL,
    written_by  TEXT   NOT NULL,
    replaced_at BIGINT NOT NULL,
    PRIMARY KEY (owner, tile_id, number)
);
CREATE INDEX hexmap_versions_age ON hexmap_versions (owner, replaced_at);

CREATE FUNCTION hexmap_tiles_versioned() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO hexmap_versions
        (owner, tile_id, number, item_type, title, content, preview, link, visibility, written_by, replaced_at)
    SELECT OLD.owner, OLD.id, COALESCE(MAX(v.number), 0) + 1, OLD.item_type, OLD.title, OLD.content, OLD.preview, OLD.link,
           OLD.visibility, OLD.written_by, NEW.updated_at
    FROM hexmap_versions v WHERE v.owner = OLD.owner AND v.tile_id = OLD.id;
    DELETE FROM hexmap_versions WHERE owner = OLD.owner AND tile_id = OLD.id
        AND number <= (SELECT MAX(number) FROM hexmap_versions WHERE owner = OLD.owner AND tile_id = OLD.id) - 20;
    RETURN NULL;
END $$;
CREATE TRIGGER hexmap_tiles_versioned
    AFTER UPDATE OF title, content, preview, link, item_type, visibility ON hexmap_tiles FOR EACH ROW
    WHEN ((OLD.title, OLD.content, OLD.preview, OLD.link, OLD.item_type, OLD.visibility)
          IS DISTINCT FROM (NEW.title, NEW.content, NEW.preview, NEW.link, NEW.item_type, NEW.visibility))
    EXECUTE FUNCTION hexmap_tiles_versioned();

-- How much of that there is for each owner.
CREATE TABLE hexmap_owners (
    owner         TEXT   NOT NULL PRIMARY KEY,
    version_bytes BIGINT NOT NULL CHECK (version_bytes >= 0)
);
CREATE FUNCTION hexmap_versions_counted() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO hexmap_owners AS o (owner, version_bytes)
        VALUES (NEW.owner, hexmap_bytes(NEW.title, NEW.content, NEW.preview, NEW.link) + 200)
        ON CONFLICT (owner) DO UPDATE SET version_bytes = o.version_bytes + excluded.version_bytes;
    ELSE
        UPDATE hexmap_owners SET version_bytes = version_bytes - hexmap_bytes(OLD.title, OLD.content, OLD.preview, OLD.link) - 200
        WHERE owner = OLD.owner;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER hexmap_versions_counted AFTER INSERT OR DELETE ON hexmap_versions
    FOR EACH ROW EXECUTE FUNCTION hexmap_versions_counted();
