-- Titles, contents, previews and links are sealed. What is counted is what they hold: a sealed text of n bytes is one character and
-- then n + 28 bytes as base64url, so it holds (length - 1) * 3 / 4 - 28. No text counts as less than nothing: a plain one of an older version
-- may be shorter than any sealed one.
DROP TRIGGER hexmap_tiles_added;
DROP TRIGGER hexmap_tiles_removed;
DROP TRIGGER hexmap_tiles_changed;
DROP TRIGGER hexmap_tiles_versioned;
DROP TRIGGER hexmap_versions_added;
DROP TRIGGER hexmap_versions_removed;

-- One row, as soon as nothing is left that an older version wrote unsealed. A new database has nothing.
CREATE TABLE hexmap_sealed (
    id INTEGER NOT NULL PRIMARY KEY CHECK (id = 1)
) STRICT;
INSERT INTO hexmap_sealed (id) SELECT 1
WHERE NOT EXISTS (SELECT 1 FROM hexmap_tiles) AND NOT EXISTS (SELECT 1 FROM hexmap_images) AND NOT EXISTS (SELECT 1 FROM hexmap_versions);

CREATE TRIGGER hexmap_tiles_added AFTER INSERT ON hexmap_tiles BEGIN
    INSERT INTO hexmap_maps (owner, group_id, tiles, bytes, revision)
    VALUES (NEW.owner, NEW.group_id, 1, (CASE WHEN OCTET_LENGTH(NEW.title) > 38 THEN (OCTET_LENGTH(NEW.title) - 1) * 3 / 4 - 28 ELSE 0 END) + (CASE WHEN OCTET_LENGTH(NEW.content) > 38 THEN (OCTET_LENGTH(NEW.content) - 1) * 3 / 4 - 28 ELSE 0 END) + (CASE WHEN OCTET_LENGTH(NEW.preview) > 38 THEN (OCTET_LENGTH(NEW.preview) - 1) * 3 / 4 - 28 ELSE 0 END) + (CASE WHEN OCTET_LENGTH(NEW.link) > 38 THEN (OCTET_LENGTH(NEW.link) - 1) * 3 / 4 - 28 ELSE 0 END), 1)
    ON CONFLICT (owner, group_id) DO UPDATE
    SET tiles = tiles + 1, bytes = bytes + excluded.bytes, revision = revision + 1;
END;
CREATE TRIGGER hexmap_tiles_removed AFTER DELETE ON hexmap_tiles BEGIN
    UPDATE hexmap_maps SET tiles = tiles - 1, revision = revision + 1,
        bytes = bytes - ((CASE WHEN OCTET_LENGTH(OLD.title) > 38 THEN (OCTET_LENGTH(OLD.title) - 1) * 3 / 4 - 28 ELSE 0 END) + (CASE WHEN OCTET_LENGTH(OLD.content) > 38 THEN (OCTET_LENGTH(OLD.content) - 1) * 3 / 4 - 28 ELSE 0 END) + (CASE WHEN OCTET_LENGTH(OLD.preview) > 38 THEN (OCTET_LENGTH(OLD.preview) - 1) * 3 / 4 - 28 ELSE 0 END) + (CASE WHEN OCTET_LENGTH(OLD.link) > 38 THEN (OCTET_LENGTH(OLD.link) - 1) * 3 / 4 - 28 ELSE 0 END))
    WHERE owner = OLD.owner AND group_id = OLD.group_id;
END;
CREATE TRIGGER hexmap_tiles_changed AFTER UPDATE OF title, content, preview, link ON hexmap_tiles BEGIN
    UPDATE hexmap_maps SET revision = revision + 1,
        bytes = bytes + ((CASE WHEN OCTET_LENGTH(NEW.title) > 38 THEN (OCTET_LENGTH(NEW.title) - 1) * 3 / 4 - 28 ELSE 0 END) + (CASE WHEN OCTET_LENGTH(NEW.content) > 38 THEN (OCTET_LENGTH(NEW.content) - 1) * 3 / 4 - 28 ELSE 0 END) + (CASE WHEN OCTET_LENGTH(NEW.preview) > 38 THEN (OCTET_LENGTH(NEW.preview) - 1) * 3 / 4 - 28 ELSE 0 END) + (CASE WHEN OCTET_LENGTH(NEW.link) > 38 THEN (OCTET_LENGTH(NEW.link) - 1) * 3 / 4 - 28 ELSE 0 END))
                - ((CASE WHEN OCTET_LENGTH(OLD.title) > 38 THEN (OCTET_LENGTH(OLD.title) - 1) * 3 / 4 - 28 ELSE 0 END) + (CASE WHEN OCTET_LENGTH(OLD.content) > 38 THEN (OCTET_LENGTH(OLD.content) - 1) * 3 / 4 - 28 ELSE 0 END) + (CASE WHEN OCTET_LENGTH(OLD.preview) > 38 THEN (OCTET_LENGTH(OLD.preview) - 1) * 3 / 4 - 28 ELSE 0 END) + (CASE WHEN OCTET_LENGTH(OLD.link) > 38 THEN (OCTET_LENGTH(OLD.link) - 1) * 3 / 4 - 28 ELSE 0 END))
    WHERE owner = NEW.owner AND group_id = NEW.group_id;
END;
-- As long as older texts are being sealed they have not changed.
CREATE TRIGGER hexmap_tiles_versioned
AFTER UPDATE OF title, content, preview, link, item_type, visibility ON hexmap_tiles
WHEN (OLD.title IS NOT NEW.title OR OLD.content IS NOT NEW.content OR OLD.preview IS NOT NEW.preview OR OLD.link IS NOT NEW.link
     OR OLD.item_type IS NOT NEW.item_type OR OLD.visibility IS NOT NEW.visibility) AND EXISTS (SELECT 1 FROM hexmap_sealed)
BEGIN
    INSERT INTO hexmap_versions
        (owner, tile_id, number, item_type, title, content, preview, link, visibility, written_by, replaced_at)
    SELECT OLD.owner, OLD.id, COALESCE(MAX(number), 0) + 1, OLD.item_type, OLD.title, OLD.content, OLD.preview, OLD.link,
           OLD.visibility, OLD.written_by, NEW.updated_at
    FROM hexmap_versions WHERE owner = OLD.owner AND tile_id = OLD.id;
    DELETE FROM hexmap_versions WHERE owner = OLD.owner AND tile_id = OLD.id
        AND number <= (SELECT MAX(number) FROM hexmap_versions WHERE owner = OLD.owner AND tile_id = OLD.id) - 20;
END;
CREATE TRIGGER hexmap_versions_added AFTER INSERT ON hexmap_versions BEGIN
    INSERT INTO hexmap_owners (owner, version_bytes)
    VALUES (NEW.owner, (CASE WHEN OCTET_LENGTH(NEW.title) > 38 THEN (OCTET_LENGTH(NEW.title) - 1) * 3 / 4 - 28 ELSE 0 END) + (CASE WHEN OCTET_LENGTH(NEW.content) > 38 THEN (OCTET_LENGTH(NEW.content) - 1) * 3 / 4 - 28 ELSE 0 END) + (CASE WHEN OCTET_LENGTH(NEW.preview) > 38 THEN (OCTET_LENGTH(NEW.preview) - 1) * 3 / 4 - 28 ELSE 0 END) + (CASE WHEN OCTET_LENGTH(NEW.link) > 38 THEN (OCTET_LENGTH(NEW.link) - 1) * 3 / 4 - 28 ELSE 0 END) + 200)
    ON CONFLICT (owner) DO UPDATE SET version_bytes = version_bytes + excluded.version_bytes;
END;
CREATE TRIGGER hexmap_versions_removed AFTER DELETE ON hexmap_versions BEGIN
    UPDATE hexmap_owners SET version_bytes = version_bytes - ((CASE WHEN OCTET_LENGTH(OLD.title) > 38 THEN (OCTET_LENGTH(OLD.title) - 1) * 3 / 4 - 28 ELSE 0 END) + (CASE WHEN OCTET_LENGTH(OLD.content) > 38 THEN (OCTET_LENGTH(OLD.content) - 1) * 3 / 4 - 28 ELSE 0 END) + (CASE WHEN OCTET_LENGTH(OLD.preview) > 38 THEN (OCTET_LENGTH(OLD.preview) - 1) * 3 / 4 - 28 ELSE 0 END) + (CASE WHEN OCTET_LENGTH(OLD.link) > 38 THEN (OCTET_LENGTH(OLD.link) - 1) * 3 / 4 - 28 ELSE 0 END)) - 200
    WHERE owner = OLD.owner;
END;
