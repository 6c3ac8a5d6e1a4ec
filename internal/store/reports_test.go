package store_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/cpucloud/cpucloud/internal/ledger"
	"github.com/cpucloud/cpucloud/internal/store"
	"github.com/cpucloud/cpucloud/internal/store/storetest"
)

// What was there before customers could look at their entries is found by them,
// too; and the way back and forth again loses nothing.
func TestReportsOfOldEntries(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, e storetest.Engine) {
		url := e.URL(t)
		entry := func(key, kind, from, to string, amount int) string {
			return fmt.Sprintf(`INSERT INTO entries (key, at, kind, from_account, to_account, amount, vm_id, epoch, reason)
				VALUES ('%s', 1000000, '%s', '%s', '%s', %d, '0x1', 0, 'r')`, key, kind, from, to, amount)
		}
		if err := store.MigrateTo(t.Context(), url, 4,
			`INSERT INTO vms (id, account_id, server_id, offer_id, provider_id, datacenter_id, name, spec, goal, generation, reached, state, since, reason, deadline, address,
				price, spent, epoch, created_at, activated_at, next_billing, ended_at, gone)
				VALUES ('0x1', 'anna', 'srv', 'off', 'prv', 'dc', 'web', '{}', 'run', 1, 1, 'Active', 1, '', 0, '10.0.0.1', 40, 40, 86400000000, 1, 1, 1, 0, FALSE)`,
			entry("deposit:1", "deposit", "external", "account:anna", 100), entry("hold:0x1", "hold", "account:anna", "vm:0x1", 80),
			entry("charge:0x1:1", "charge", "vm:0x1", "provider:prv:pending", 40),
			`INSERT INTO balances (account, amount) VALUES ('account:anna', 20), ('vm:0x1', 40), ('provider:prv:pending', 40), ('external', -100)`,
		); err != nil {
			t.Fatal(err)
		}
		for round := range 2 {
			s := open(t, url)
			if found := findings(t, s); len(found) > 0 {
				t.Errorf("round %d: %v", round, found)
			}
			if err := s.Read(t.Context(), func(tx *store.Tx) error {
				list, err := tx.History(t.Context(), store.History{AccountID: "anna"}, 9)
				if err != nil || len(list) != 3 || list[0].Kind != ledger.Charge || list[0].VMName != "web" {
					t.Errorf("round %d: history %+v, %v", round, list, err)
				}
				due, err := tx.DueFunds(t.Context(), time.Unix(1, 0), 9)
				if err != nil || len(due) != 1 || due[0] != "anna" {
					t.Errorf("round %d: funds to be looked at: %v, %v", round, due, err)
				}
				touched, last, err := tx.Touched(t.Context(), 3, 9)
				if err != nil || len(touched) != 0 || last != 3 {
					t.Errorf("round %d: touched %v until %d, %v", round, touched, last, err)
				}
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			if err := s.Exec(t.Context(), `UPDATE entries SET customer = 'bert' WHERE kind = 'charge'`); err == nil {
				t.Error("an entry can be changed")
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if err := store.MigrateTo(t.Context(), url, 4); err != nil {
				t.Fatal(err)
			}
			if err := store.MigrateTo(t.Context(), url, 4, `UPDATE entries SET amount = 1`); err == nil {
				t.Error("after the way back an entry can be changed")
			}
		}
	})
}
