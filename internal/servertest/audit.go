package servertest

import (
	"context"
	"fmt"
	"net/netip"
	"testing"

	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/ledger"
	"github.com/cpucloud/cpucloud/internal/money"
	"github.com/cpucloud/cpucloud/internal/store"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// Books is what the database of a stopped control plane says of one customer.
type Books struct {
	Free     money.Amount
	Reserved money.Amount // in the reserves of all VMs, ended ones too
	Rent     money.Amount // charged for all VMs
	Paid     money.Amount // by the customer, less what was taken out again
	VMs      []vm.VM      // every one that the customer ever had
	Taken    capacity.Vector
}

// Audit opens the database of a control plane that is stopped. It has the ledger
// checked against its entries, and the capacity that is taken on every server
// against the VMs that are there.
func Audit(tb testing.TB, database, accountID string) Books {
	tb.Helper()
	ctx := tb.Context()
	db, err := store.Open(ctx, database)
	if err != nil {
		tb.Fatal(err)
	}
	defer db.Close() //nolint:errcheck // it was only read
	var b Books
	err = db.Read(ctx, func(tx *store.Tx) error {
		books, err := tx.Books(ctx)
		if err != nil {
			return err
		}
		if err := books.Err(); err != nil {
			return err
		}
		if err := b.capacity(ctx, tx); err != nil {
			return err
		}
		return b.money(ctx, tx, accountID)
	})
	if err != nil {
		tb.Fatalf("audit: %v", err)
	}
	return b
}

func (b *Books) capacity(ctx context.Context, tx *store.Tx) error {
	changes, err := tx.MarketChanges(ctx, 0)
	if err != nil {
		return err
	}
	for _, sold := range changes.Servers {
		servers, err := tx.ServersByNumber(ctx, []int64{int64(sold.Number)})
		if err != nil {
			return err
		}
		vms, err := tx.ServerVMs(ctx, servers[0].ID)
		if err != nil {
			return err
		}
		var sum capacity.Vector
		addresses := map[netip.Addr]bool{}
		for _, v := range vms {
			sum = sum.Add(v.Takes())
			if addresses[v.Address] {
				return fmt.Errorf("server %s: address %s is taken twice", servers[0].ID, v.Address)
			}
			addresses[v.Address] = true
		}
		if sold.Used != sum {
			return fmt.Errorf("server %s counts %s as taken, its VMs take %s", servers[0].ID, sold.Used, sum)
		}
		b.Taken = b.Taken.Add(sum)
	}
	return nil
}

func (b *Books) money(ctx context.Context, tx *store.Tx, accountID string) (err error) {
	customer := ledger.Customer(accountID)
	if b.Free, err = tx.Balance(ctx, customer); err != nil {
		return err
	}
	entries, err := tx.Entries(ctx, customer)
	if err != nil {
		return err
	}
	for _, e := range entries {
		switch e.Kind {
		case ledger.Deposit:
			b.Paid += e.Amount
		case ledger.Withdrawal:
			b.Paid -= e.Amount
		case ledger.Hold:
			v, err := tx.VM(ctx, e.VM)
			if err != nil {
				return err
			}
			b.VMs = append(b.VMs, v)
			b.Reserved += v.Reserved
			b.Rent += v.Spent
		case ledger.Charge, ledger.TopUp, ledger.Refund, ledger.Return, ledger.Settle, ledger.Commission, ledger.Request, ledger.Restore:
		}
	}
	if b.Free+b.Reserved+b.Rent != b.Paid {
		return fmt.Errorf("%s free + %s reserved + %s rent are not the %s paid", b.Free, b.Reserved, b.Rent, b.Paid)
	}
	return nil
}
