-- A VM that could not be launched is placed on another server.

-- +goose Up

-- wish is what was asked of its place, as JSON, while it may still need another
-- one. What a failed launch left behind is a VM of its own that belongs to no
-- account: known_as is the VM that its server knows it as.
ALTER TABLE vms ADD COLUMN wish TEXT NOT NULL DEFAULT '';
ALTER TABLE vms ADD COLUMN known_as TEXT NOT NULL DEFAULT '';
CREATE INDEX vms_left ON vms (known_as) WHERE known_as <> '';

-- What a quote was made for goes to the VMs that take it.
ALTER TABLE quotes ADD COLUMN wish TEXT NOT NULL DEFAULT '';

-- What the newest report of a server said of the VMs there, as JSON.
CREATE TABLE sightings (
    server_id TEXT PRIMARY KEY,
    list      TEXT NOT NULL
)
-- SQLITE: WITHOUT ROWID
;

-- +goose Down
DROP TABLE sightings;
ALTER TABLE quotes DROP COLUMN wish;
DROP INDEX vms_left;
ALTER TABLE vms DROP COLUMN known_as;
ALTER TABLE vms DROP COLUMN wish;
