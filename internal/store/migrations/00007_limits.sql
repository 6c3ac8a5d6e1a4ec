-- Limits on what accounts and their API keys may spend newly.

-- +goose Up

-- The API key that deployed a VM; '' for one from before keys were remembered.
ALTER TABLE vms ADD COLUMN key_id TEXT NOT NULL DEFAULT '';

-- What has not ended of accounts with limits, with all that those count of it. VMs
-- of others are in no further index: they cost nothing when they are placed.
ALTER TABLE vms ADD COLUMN limited BOOLEAN NOT NULL DEFAULT FALSE;
CREATE INDEX vms_limited ON vms (account_id, key_id, epoch, state, price)
    WHERE limited AND state IN ('New', 'Launching', 'Active', 'SmallBalance', 'InsufficientFunds');

-- What an account or an API key with limits was charged on a day of UTC, counted
-- from 1970: the sums of entries of kind charge, kept so that they need not be
-- added up while others wait to write.
CREATE TABLE spending (
    subject TEXT NOT NULL,
    day     BIGINT NOT NULL,
    amount  BIGINT NOT NULL CHECK (amount >= 0),
    PRIMARY KEY (subject, day)
)
-- SQLITE: WITHOUT ROWID
;
-- The limits of an account or an API key, by who set them. NULL is no limit.
CREATE TABLE limits (
    subject   TEXT NOT NULL,
    set_by    TEXT NOT NULL CHECK (set_by IN ('account', 'operator')),
    per_day   BIGINT CHECK (per_day >= 0),
    per_month BIGINT CHECK (per_month >= 0),
    running   BIGINT CHECK (running >= 0),
    PRIMARY KEY (subject, set_by)
);

-- It rises with every change of limits, and is read with the revision of the
-- marketplace by every transaction that writes: what is known of limits stands
-- while it does.
ALTER TABLE market ADD COLUMN limits BIGINT NOT NULL DEFAULT 1;

CREATE INDEX api_keys_account ON api_keys (account_id, created_at, id);

-- +goose Down
DROP INDEX api_keys_account;
ALTER TABLE market DROP COLUMN limits;
DROP TABLE limits;
DROP TABLE spending;
DROP INDEX vms_limited;
ALTER TABLE vms DROP COLUMN limited;
ALTER TABLE vms DROP COLUMN key_id;
