-- Whether VMs run, what they cost by that, and how long those are kept that were deleted.

-- +goose Up

-- power is 'on', 'stopping' or 'off'; full_parts is what a VM costs for which resource
-- while it runs and holds nothing, '' where that is price_parts; leaves is what it
-- takes of its server until it is resized, '' for nothing; held are GiB of its server's
-- storage beside its disk; cheaper is whether it costs less from its next epoch on;
-- kept_until is when the disk of a VM is purged that was deleted, 0 for one that isn't kept.
ALTER TABLE vms ADD COLUMN power TEXT NOT NULL DEFAULT 'on';
ALTER TABLE vms ADD COLUMN full_parts TEXT NOT NULL DEFAULT '';
ALTER TABLE vms ADD COLUMN leaves TEXT NOT NULL DEFAULT '';
ALTER TABLE vms ADD COLUMN held BIGINT NOT NULL DEFAULT 0;
ALTER TABLE vms ADD COLUMN cheaper BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE vms ADD COLUMN kept_until BIGINT NOT NULL DEFAULT 0;
-- step is what an operation does just now, done how much of it in percent, result
-- what came of it as JSON, '' for nothing.
ALTER TABLE operations ADD COLUMN step TEXT NOT NULL DEFAULT '';
ALTER TABLE operations ADD COLUMN done BIGINT NOT NULL DEFAULT 0;
ALTER TABLE operations ADD COLUMN result TEXT NOT NULL DEFAULT '';
CREATE INDEX vms_kept ON vms (kept_until) WHERE kept_until > 0;

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
DROP INDEX vms_kept;
ALTER TABLE operations DROP COLUMN result;
ALTER TABLE operations DROP COLUMN done;
ALTER TABLE operations DROP COLUMN step;
ALTER TABLE vms DROP COLUMN kept_until;
ALTER TABLE vms DROP COLUMN cheaper;
ALTER TABLE vms DROP COLUMN held;
ALTER TABLE vms DROP COLUMN leaves;
ALTER TABLE vms DROP COLUMN full_parts;
ALTER TABLE vms DROP COLUMN power;
