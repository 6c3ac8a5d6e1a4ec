-- Disks that VMs had and can get back.

-- +goose Up

-- A VM's own disk is not among them: what was asked for that one is the VM's.
CREATE TABLE vm_disks (
	vm_id     TEXT NOT NULL REFERENCES vms (id),
	number    BIGINT NOT NULL,  -- of the disk, unique within the VM
	parted    BIGINT NOT NULL,  -- the VM's generation since which it is to run on another one
	image     TEXT NOT NULL,    -- URL, '' where it isn't known
	checksum  TEXT NOT NULL,    -- that was asked for, '' for none
	pin       TEXT NOT NULL,    -- what the image had, '' before
	ssh_keys  TEXT NOT NULL,    -- JSON array
	host_keys TEXT NOT NULL,    -- of its SSH server, one a line
	gib       BIGINT NOT NULL,  -- its size
	held      BIGINT NOT NULL,  -- GiB that it holds of its server's storage
	since     BIGINT NOT NULL,  -- when the VM was asked to run on another one
	until     BIGINT NOT NULL,  -- when it is purged; 0 as long as the VM may still run on it
	purging   BOOLEAN NOT NULL, -- its agent is asked to purge it
	PRIMARY KEY (vm_id, number)
);
CREATE INDEX vm_disks_until ON vm_disks (until) WHERE until > 0 AND NOT purging;

-- Texts are compared byte by byte, see 00009.
-- +goose StatementBegin
-- SQLITE: SELECT 1;
-- POSTGRES: DO $$
-- POSTGRES: DECLARE c RECORD;
-- POSTGRES: BEGIN
-- POSTGRES:     FOR c IN SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = current_schema() AND data_type = 'text' AND collation_name IS DISTINCT FROM 'C'
-- POSTGRES:     LOOP
-- POSTGRES:         EXECUTE format('ALTER TABLE %I ALTER COLUMN %I TYPE TEXT COLLATE "C"', c.table_name, c.column_name);
-- POSTGRES:     END LOOP;
-- POSTGRES: END $$;
-- +goose StatementEnd

-- +goose Down
DROP TABLE vm_disks;
