-- Who moved money stands in its entry, and providers ask for what they earned.

-- +goose Up
ALTER TABLE entries ADD COLUMN actor TEXT NOT NULL DEFAULT '';
-- +goose StatementBegin
-- SQLITE: DROP TRIGGER entries_stay;
-- POSTGRES: CREATE OR REPLACE FUNCTION entries_stay() RETURNS trigger LANGUAGE plpgsql AS $$
-- POSTGRES: BEGIN
-- POSTGRES:     IF TG_OP = 'UPDATE' AND OLD.hash = '' AND (OLD.id, OLD.key, OLD.at, OLD.kind, OLD.from_account, OLD.to_account, OLD.amount, OLD.vm_id, OLD.epoch, OLD.reason, OLD.actor)
-- POSTGRES:         = (NEW.id, NEW.key, NEW.at, NEW.kind, NEW.from_account, NEW.to_account, NEW.amount, NEW.vm_id, NEW.epoch, NEW.reason, NEW.actor) THEN
-- POSTGRES:         RETURN NEW;
-- POSTGRES:     END IF;
-- POSTGRES:     RAISE EXCEPTION 'an entry of the ledger is never changed';
-- POSTGRES: END $$;
-- +goose StatementEnd
-- +goose StatementBegin
-- SQLITE: CREATE TRIGGER entries_stay BEFORE UPDATE ON entries
-- SQLITE:     WHEN OLD.hash <> '' OR OLD.id <> NEW.id OR OLD.key <> NEW.key OR OLD.at <> NEW.at OR OLD.kind <> NEW.kind OR OLD.from_account <> NEW.from_account
-- SQLITE:         OR OLD.to_account <> NEW.to_account OR OLD.amount <> NEW.amount OR OLD.vm_id <> NEW.vm_id OR OLD.epoch <> NEW.epoch OR OLD.reason <> NEW.reason
-- SQLITE:         OR OLD.actor <> NEW.actor
-- SQLITE:     BEGIN SELECT RAISE(ABORT, 'an entry of the ledger is never changed'); END;
-- POSTGRES: SELECT 1;
-- +goose StatementEnd

-- answer is the reference of the transfer, or why there is none.
CREATE TABLE withdrawals (
    id           TEXT PRIMARY KEY,
    provider_id  TEXT NOT NULL REFERENCES providers (id),
    amount       BIGINT NOT NULL CHECK (amount > 0),
    destination  TEXT NOT NULL,
    note         TEXT NOT NULL,
    request_key  TEXT NOT NULL,
    state        TEXT NOT NULL CHECK (state IN ('requested', 'confirmed', 'rejected', 'cancelled')),
    requested_at BIGINT NOT NULL,
    requested_by TEXT NOT NULL,
    decided_at   BIGINT NOT NULL,
    decided_by   TEXT NOT NULL,
    answer       TEXT NOT NULL,
    CHECK ((state = 'requested') = (decided_at = 0))
);
CREATE INDEX withdrawals_provider ON withdrawals (provider_id, requested_at, id);
CREATE INDEX withdrawals_state ON withdrawals (state, requested_at, id);
CREATE UNIQUE INDEX withdrawals_key ON withdrawals (provider_id, request_key) WHERE request_key <> '';

-- +goose Down
DROP TABLE withdrawals;
-- +goose StatementBegin
-- SQLITE: DROP TRIGGER entries_stay;
-- POSTGRES: CREATE OR REPLACE FUNCTION entries_stay() RETURNS trigger LANGUAGE plpgsql AS $$
-- POSTGRES: BEGIN
-- POSTGRES:     IF TG_OP = 'UPDATE' AND OLD.hash = '' AND (OLD.id, OLD.key, OLD.at, OLD.kind, OLD.from_account, OLD.to_account, OLD.amount, OLD.vm_id, OLD.epoch, OLD.reason)
-- POSTGRES:         = (NEW.id, NEW.key, NEW.at, NEW.kind, NEW.from_account, NEW.to_account, NEW.amount, NEW.vm_id, NEW.epoch, NEW.reason) THEN
-- POSTGRES:         RETURN NEW;
-- POSTGRES:     END IF;
-- POSTGRES:     RAISE EXCEPTION 'an entry of the ledger is never changed';
-- POSTGRES: END $$;
-- +goose StatementEnd
ALTER TABLE entries DROP COLUMN actor;
-- +goose StatementBegin
-- SQLITE: CREATE TRIGGER entries_stay BEFORE UPDATE ON entries
-- SQLITE:     WHEN OLD.hash <> '' OR OLD.id <> NEW.id OR OLD.key <> NEW.key OR OLD.at <> NEW.at OR OLD.kind <> NEW.kind OR OLD.from_account <> NEW.from_account
-- SQLITE:         OR OLD.to_account <> NEW.to_account OR OLD.amount <> NEW.amount OR OLD.vm_id <> NEW.vm_id OR OLD.epoch <> NEW.epoch OR OLD.reason <> NEW.reason
-- SQLITE:     BEGIN SELECT RAISE(ABORT, 'an entry of the ledger is never changed'); END;
-- POSTGRES: SELECT 1;
-- +goose StatementEnd
