package store_test

import (
	"strings"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/internal/ledger"
	"github.com/cpucloud/cpucloud/internal/store"
	"github.com/cpucloud/cpucloud/internal/store/storetest"
)

// Whoever changes a number in the database is found out.
func TestBooksFindTampering(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, e storetest.Engine) {
		for name, change := range map[string]string{
			"a balance":                    `UPDATE balances SET amount = amount + 1 WHERE account = 'account:a'`,
			"two balances":                 `UPDATE balances SET amount = CASE account WHEN 'account:a' THEN amount - 1 ELSE amount + 1 END WHERE account IN ('account:a', 'account:b')`,
			"a balance and the world's":    `UPDATE balances SET amount = CASE account WHEN 'external' THEN amount - 1 ELSE amount + 1 END WHERE account IN ('account:a', 'external')`,
			"an entry's amount":            `UPDATE entries SET amount = amount + 1 WHERE key = 'deposit:1'`,
			"an entry's source":            `UPDATE entries SET from_account = 'account:b' WHERE key = 'withdrawal:1'`,
			"an entry's destination":       `UPDATE entries SET to_account = 'account:c' WHERE key = 'deposit:1'`,
			"an entry that is gone":        `DELETE FROM entries WHERE key = 'deposit:1'`,
			"an entry that was never made": `INSERT INTO entries (key, at, kind, from_account, to_account, amount, vm_id, epoch, reason) VALUES ('x', 1, 'deposit', 'external', 'account:a', 1, '', 0, '')`,
			"an entry's time":              `UPDATE entries SET at = at + 1 WHERE key = 'deposit:1'`,
			"an entry's reason":            `UPDATE entries SET reason = 'x' WHERE key = 'deposit:2'`,
			"who made an entry":            `UPDATE entries SET actor = 'acc_b/key_b' WHERE key = 'deposit:2'`,
			"an entry's key":               `UPDATE entries SET key = 'deposit:3' WHERE key = 'deposit:2'`,
			"an entry's seal":              `UPDATE entries SET hash = 'x' WHERE key = 'deposit:2'`,
			"the last entry is gone":       `DELETE FROM entries WHERE key = 'withdrawal:1'`,
			"two entries that even out":    `UPDATE entries SET amount = amount + 1 WHERE key IN ('deposit:1', 'withdrawal:1')`,
			"a chain's end":                `UPDATE balances SET head = '' WHERE account = 'account:b'`,
			"a balance that is gone":       `DELETE FROM balances WHERE account = 'account:a'`,
			"an entry between strangers":   `INSERT INTO entries (key, at, kind, from_account, to_account, amount, vm_id, epoch, reason) VALUES ('x', 1, 'deposit', 'account:x', 'account:y', 1, '', 0, '')`,
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				s := e.Open(t)
				at := time.Unix(1, 0)
				second := ledger.Credit(at, "b", 100, "", "2")
				second.Actor = "acc_a/key_a"
				err := s.Write(t.Context(), func(tx *store.Tx) error {
					for _, entry := range []ledger.Entry{
						ledger.Credit(at, "a", 100, "", "1"), second, ledger.Debit(at, "a", 30, "", "1"),
					} {
						if _, err := tx.Post(t.Context(), entry); err != nil {
							return err
						}
					}
					return nil
				})
				if err != nil {
					t.Fatal(err)
				}
				if found := findings(t, s); len(found) > 0 {
					t.Fatalf("before: %+v", found)
				}
				if strings.Contains(change, " entries ") && !strings.HasPrefix(change, "INSERT") {
					if err := s.Exec(t.Context(), change); err == nil {
						t.Error("the database lets an entry be changed")
					}
				}
				unlock(t, s, e)
				if err := s.Exec(t.Context(), change); err != nil {
					t.Fatal(err)
				}
				if found := findings(t, s); len(found) == 0 {
					t.Error("nothing was found")
				}
			})
		}
	})
}

// The database itself refuses a debt, whatever the code above it does.
func TestNoDebt(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, e storetest.Engine) {
		s := e.Open(t)
		if err := s.Exec(t.Context(), `INSERT INTO balances (account, amount) VALUES ('account:a', -1)`); err == nil {
			t.Error("a customer's balance was made negative")
		}
		if err := s.Exec(t.Context(), `INSERT INTO balances (account, amount) VALUES ('external', -1)`); err != nil {
			t.Errorf("what came from outside was refused: %v", err)
		}
	})
}

// unlock takes the triggers away, as someone can who may do all in the database.
func unlock(t *testing.T, s *store.Store, e storetest.Engine) {
	t.Helper()
	for _, trigger := range []string{"entries_stay", "entries_kept"} {
		on := ""
		if e.Name == "postgres" {
			on = " ON entries"
		}
		if err := s.Exec(t.Context(), "DROP TRIGGER "+trigger+on); err != nil {
			t.Fatal(err)
		}
	}
}

func findings(t *testing.T, s *store.Store) []ledger.Finding {
	t.Helper()
	var found []ledger.Finding
	if err := s.Read(t.Context(), func(tx *store.Tx) error {
		b, err := tx.Books(t.Context())
		if err == nil {
			found = b.Findings
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return found
}
