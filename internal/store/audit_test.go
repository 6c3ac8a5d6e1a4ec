package store_test

import (
	"strings"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/ledger"
	"github.com/cpucloud/cpucloud/internal/store"
	"github.com/cpucloud/cpucloud/internal/store/storetest"
)

// Whoever changes a number in the database is found out.
func TestAuditFindsTampering(t *testing.T) {
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
			"a balance that is gone":       `DELETE FROM balances WHERE account = 'account:a'`,
			"an entry between strangers":   `INSERT INTO entries (key, at, kind, from_account, to_account, amount, vm_id, epoch, reason) VALUES ('x', 1, 'deposit', 'account:x', 'account:y', 1, '', 0, '')`,
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				s := e.Open(t)
				at := time.Unix(1, 0)
				err := s.Write(t.Context(), func(tx *store.Tx) error {
					for _, entry := range []ledger.Entry{
						ledger.Credit(at, "a", 100, "", "1"), ledger.Credit(at, "b", 100, "", "2"), ledger.Debit(at, "a", 30, "", "1"),
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
				if err := audit(t, s); err != nil {
					t.Fatalf("Audit before: %v", err)
				}
				if err := s.Exec(t.Context(), change); err != nil {
					t.Fatal(err)
				}
				if err := audit(t, s); !fault.Is(err, fault.Internal) || !strings.Contains(err.Error(), "balance") {
					t.Errorf("Audit after: got %v, want what doesn't balance", err)
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

func audit(t *testing.T, s *store.Store) error {
	t.Helper()
	return s.Read(t.Context(), func(tx *store.Tx) error {
		_, err := tx.Audit(t.Context())
		return err
	})
}
