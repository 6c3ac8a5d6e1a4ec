package control

import (
	"context"
	"time"

	"github.com/cpucloud/cpucloud/internal/ledger"
	"github.com/cpucloud/cpucloud/internal/money"
	"github.com/cpucloud/cpucloud/internal/store"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// Payment is what a VM waits for that is short of money.
type Payment struct {
	Missing money.Amount // in its customer's balance, for it to go on
	Until   time.Time
	Then    vm.State // what becomes of it if nothing is paid until then
}

// owe notes what VMs wait for that are short of money. What others of the same
// customer wait for is not counted.
func (s *Service) owe(ctx context.Context, tx *store.Tx, list []VM) error {
	var purses []ledger.Account
	for _, v := range list {
		if waitsForMoney(v.State) {
			purses = append(purses, ledger.Customer(v.AccountID))
		}
	}
	if len(purses) == 0 {
		return nil
	}
	free, err := tx.Balances(ctx, purses)
	if err != nil {
		return err
	}
	for i := range list {
		if v := &list[i]; waitsForMoney(v.State) {
			v.Payment = s.paymentOf(v.VM, free[ledger.Customer(v.AccountID)])
		}
	}
	return nil
}

func waitsForMoney(s vm.State) bool { return s == vm.SmallBalance || s == vm.InsufficientFunds }

func (s *Service) paymentOf(v vm.VM, free money.Amount) *Payment {
	p := &Payment{Missing: v.Price, Until: v.NextBilling.Add(s.Grace), Then: vm.InsufficientFunds}
	if v.State == vm.InsufficientFunds {
		p.Missing, p.Until, p.Then = ledger.DepositEpochs*v.Price, v.Deadline, vm.Terminated
	}
	p.Missing = max(p.Missing-v.Reserved-free, 0)
	return p
}
