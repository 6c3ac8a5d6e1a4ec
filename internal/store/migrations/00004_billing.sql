-- Entries are sealed in chains and never changed, and VMs are billed epoch by epoch.

-- +goose Up
ALTER TABLE entries ADD COLUMN hash TEXT NOT NULL DEFAULT '';
ALTER TABLE balances ADD COLUMN head TEXT NOT NULL DEFAULT '';

-- An entry from before there were seals gets its own, once; nothing else of an
-- entry ever changes.
-- +goose StatementBegin
-- SQLITE: CREATE TRIGGER entries_stay BEFORE UPDATE ON entries
-- SQLITE:     WHEN OLD.hash <> '' OR OLD.id <> NEW.id OR OLD.key <> NEW.key OR OLD.at <> NEW.at OR OLD.kind <> NEW.kind OR OLD.from_account <> NEW.from_account
-- SQLITE:         OR OLD.to_account <> NEW.to_account OR OLD.amount <> NEW.amount OR OLD.vm_id <> NEW.vm_id OR OLD.epoch <> NEW.epoch OR OLD.reason <> NEW.reason
-- SQLITE:     BEGIN SELECT RAISE(ABORT, 'an entry of the ledger is never changed'); END;
-- POSTGRES: CREATE FUNCTION entries_stay() RETURNS trigger LANGUAGE plpgsql AS $$
-- POSTGRES: BEGIN
-- POSTGRES:     IF TG_OP = 'UPDATE' AND OLD.hash = '' AND (OLD.id, OLD.key, OLD.at, OLD.kind, OLD.from_account, OLD.to_account, OLD.amount, OLD.vm_id, OLD.epoch, OLD.reason)
-- POSTGRES:         = (NEW.id, NEW.key, NEW.at, NEW.kind, NEW.from_account, NEW.to_account, NEW.amount, NEW.vm_id, NEW.epoch, NEW.reason) THEN
-- POSTGRES:         RETURN NEW;
-- POSTGRES:     END IF;
-- POSTGRES:     RAISE EXCEPTION 'an entry of the ledger is never changed';
-- POSTGRES: END $$;
-- +goose StatementEnd
-- +goose StatementBegin
-- SQLITE: CREATE TRIGGER entries_kept BEFORE DELETE ON entries BEGIN SELECT RAISE(ABORT, 'an entry of the ledger is never deleted'); END;
-- POSTGRES: CREATE TRIGGER entries_stay BEFORE UPDATE OR DELETE ON entries FOR EACH ROW EXECUTE FUNCTION entries_stay();
-- +goose StatementEnd
-- +goose StatementBegin
-- SQLITE: SELECT 1;
-- POSTGRES: CREATE TRIGGER entries_kept BEFORE TRUNCATE ON entries FOR EACH STATEMENT EXECUTE FUNCTION entries_stay();
-- +goose StatementEnd

-- epochs counts what a VM was charged, settled what of it its provider has for
-- good. next_billing is 0 while nothing falls due.
ALTER TABLE vms ADD COLUMN epochs BIGINT NOT NULL DEFAULT 0;
ALTER TABLE vms ADD COLUMN settled BIGINT NOT NULL DEFAULT 0 CHECK (settled >= 0);
UPDATE vms SET epochs = (SELECT COUNT(*) FROM entries e WHERE e.from_account = 'vm:' || vms.id AND e.kind = 'charge');
UPDATE vms SET epochs = 1 WHERE epochs = 0 AND activated_at > 0;
UPDATE vms SET next_billing = 0 WHERE state IN ('Terminated', 'Stopped', 'Failed');
CREATE INDEX vms_billing ON vms (next_billing, id) WHERE next_billing > 0;
CREATE INDEX vms_short ON vms (since, id) WHERE state IN ('SmallBalance', 'InsufficientFunds');

-- +goose Down
DROP INDEX vms_short;
DROP INDEX vms_billing;
ALTER TABLE vms DROP COLUMN settled;
ALTER TABLE vms DROP COLUMN epochs;
-- SQLITE: DROP TRIGGER entries_kept;
-- SQLITE: DROP TRIGGER entries_stay;
-- POSTGRES: DROP TRIGGER entries_kept ON entries;
-- POSTGRES: DROP TRIGGER entries_stay ON entries;
-- POSTGRES: DROP FUNCTION entries_stay();
ALTER TABLE balances DROP COLUMN head;
ALTER TABLE entries DROP COLUMN hash;
