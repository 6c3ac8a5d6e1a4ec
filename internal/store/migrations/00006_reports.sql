-- What customers can know of their money.

-- +goose Up

-- customer is whose balance, or whose VM's reserve, an entry moves; '' for nobody's.
-- All that a customer can ask for is found by it, what a VM's reserve was moved by
-- by its keys, and what a provider earned by two indexes of few kinds: fewer trees
-- than the two by account that every entry was in.
-- SQLITE: DROP TRIGGER entries_stay;
-- POSTGRES: DROP TRIGGER entries_stay ON entries;
ALTER TABLE entries ADD COLUMN customer TEXT NOT NULL DEFAULT '';
UPDATE entries SET customer = CASE WHEN from_account LIKE 'account:%' THEN SUBSTR(from_account, 9) WHEN to_account LIKE 'account:%' THEN SUBSTR(to_account, 9)
    ELSE COALESCE((SELECT v.account_id FROM vms v WHERE v.id = entries.vm_id), '') END WHERE kind NOT IN ('settle', 'fee');
-- +goose StatementBegin
-- SQLITE: CREATE TRIGGER entries_stay BEFORE UPDATE ON entries
-- SQLITE:     WHEN OLD.hash <> '' OR OLD.id <> NEW.id OR OLD.key <> NEW.key OR OLD.at <> NEW.at OR OLD.kind <> NEW.kind OR OLD.from_account <> NEW.from_account
-- SQLITE:         OR OLD.to_account <> NEW.to_account OR OLD.amount <> NEW.amount OR OLD.vm_id <> NEW.vm_id OR OLD.epoch <> NEW.epoch OR OLD.reason <> NEW.reason
-- SQLITE:     BEGIN SELECT RAISE(ABORT, 'an entry of the ledger is never changed'); END;
-- POSTGRES: CREATE TRIGGER entries_stay BEFORE UPDATE OR DELETE ON entries FOR EACH ROW EXECUTE FUNCTION entries_stay();
-- +goose StatementEnd
DROP INDEX entries_from;
DROP INDEX entries_to;

CREATE INDEX entries_customer ON entries (customer, at, id) WHERE customer <> '';
CREATE INDEX entries_earned ON entries (to_account, at) WHERE kind = 'charge';
CREATE INDEX entries_returned ON entries (from_account, at) WHERE kind = 'return';

-- What of a VM's price was for its vCPUs, RAM, storage and address when it was
-- deployed: a list of four amounts, '' of VMs from before.
ALTER TABLE vms ADD COLUMN price_parts TEXT NOT NULL DEFAULT '';

-- How long accounts' funds last is looked at when entries come that are newer
-- than the setting funds_entry, and when look_at has come (0: never). level is
-- of how many days the account was warned, 0 of none.
CREATE TABLE account_funds (
    account_id TEXT PRIMARY KEY,
    look_at    BIGINT NOT NULL,
    level      BIGINT NOT NULL
);
CREATE INDEX account_funds_look ON account_funds (look_at, account_id) WHERE look_at > 0;
INSERT INTO account_funds (account_id, look_at, level)
    SELECT DISTINCT account_id, 1, 0 FROM vms WHERE state IN ('New', 'Launching', 'Active', 'SmallBalance', 'InsufficientFunds');
INSERT INTO settings (key, value) SELECT 'funds_entry', CAST(COALESCE(MAX(id), 0) AS TEXT) FROM entries;

-- What an account was told, counted by n from 0.
CREATE TABLE account_events (
    account_id TEXT NOT NULL,
    n          BIGINT NOT NULL,
    key        TEXT NOT NULL,
    at         BIGINT NOT NULL,
    text       TEXT NOT NULL,
    PRIMARY KEY (account_id, n),
    UNIQUE (account_id, key)
);

-- +goose Down
DROP TABLE account_events;
DROP TABLE account_funds;
DELETE FROM settings WHERE key = 'funds_entry';
ALTER TABLE vms DROP COLUMN price_parts;
DROP INDEX entries_returned;
DROP INDEX entries_earned;
DROP INDEX entries_customer;
CREATE INDEX entries_from ON entries (from_account, id);
CREATE INDEX entries_to ON entries (to_account, id);
-- +goose StatementBegin
-- SQLITE: DROP TRIGGER entries_stay;
-- POSTGRES: SELECT 1;
-- +goose StatementEnd
ALTER TABLE entries DROP COLUMN customer;
-- +goose StatementBegin
-- SQLITE: CREATE TRIGGER entries_stay BEFORE UPDATE ON entries
-- SQLITE:     WHEN OLD.hash <> '' OR OLD.id <> NEW.id OR OLD.key <> NEW.key OR OLD.at <> NEW.at OR OLD.kind <> NEW.kind OR OLD.from_account <> NEW.from_account
-- SQLITE:         OR OLD.to_account <> NEW.to_account OR OLD.amount <> NEW.amount OR OLD.vm_id <> NEW.vm_id OR OLD.epoch <> NEW.epoch OR OLD.reason <> NEW.reason
-- SQLITE:     BEGIN SELECT RAISE(ABORT, 'an entry of the ledger is never changed'); END;
-- POSTGRES: SELECT 1;
-- +goose StatementEnd
