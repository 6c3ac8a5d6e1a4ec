package paymenttest_test

import (
	"context"
	"testing"

	"github.com/cpucloud/cpucloud/internal/control"
	"github.com/cpucloud/cpucloud/internal/payment"
	"github.com/cpucloud/cpucloud/internal/payment/paymenttest"
)

// What operators credit keeps the promises of a source.
func TestOperator(t *testing.T) {
	t.Parallel()
	paymenttest.Run(t, func() paymenttest.Party { return desk{} })
}

// So does a source that a control plane asks by itself.
func TestBank(t *testing.T) {
	t.Parallel()
	paymenttest.Run(t, func() paymenttest.Party { return &bank{} })
}

// desk is an operator who credits what lies on the desk.
type desk struct{}

func (desk) Name() string                     { return payment.Operator }
func (desk) Arrived() bool                    { return false }
func (desk) Sources() []control.PaymentSource { return nil }

func (desk) Deliver(ctx context.Context, s *control.Service, paid []payment.Payment) error {
	var faults paymenttest.Faults
	for _, p := range paid {
		_, err := s.Credit(ctx, control.System, p.AccountID, control.Credit{Amount: p.Amount, Note: p.Note, PaymentID: p.ID})
		if err != nil && !faults.Go(err) {
			break
		}
	}
	return faults.Err()
}

// bank is a source that tells of all payments that it ever received each time it
// is asked.
type bank struct {
	received []payment.Payment
	faults   paymenttest.Faults
}

func (*bank) Name() string                       { return "bank" }
func (*bank) Arrived() bool                      { return true }
func (b *bank) Sources() []control.PaymentSource { return []control.PaymentSource{source{b}} }

func (b *bank) Deliver(ctx context.Context, s *control.Service, paid []payment.Payment) error {
	b.received, b.faults = paid, paymenttest.Faults{}
	if _, err := s.Collect(ctx); err != nil {
		return err
	}
	return b.faults.Err()
}

// source is what a control plane sees of a bank.
type source struct{ *bank }

func (s source) Deliver(ctx context.Context, take control.TakePayment) error {
	for _, p := range s.received {
		p.Source, p.Arrived = "somebody else", true // whose payment it is, is not the source's to say
		if _, err := take(ctx, p); err != nil && !s.faults.Go(err) {
			return err
		}
	}
	return nil
}

var _ control.PaymentSource = source{}
