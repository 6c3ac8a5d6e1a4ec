package control

import (
	"context"

	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/money"
	"github.com/cpucloud/cpucloud/internal/store"
)

// Rehearse returns a context in which whatever is asked of a Service is checked
// and worked out as ever, and nothing of it lasts: what is stored stays, nobody is
// woken, and what would be secret or new is left out of the answer.
func Rehearse(ctx context.Context) context.Context { return store.Rehearse(ctx) }

// ring wakes all who listen to one of the things that have changed.
func (s *Service) ring(ctx context.Context, things ...string) {
	if !store.Rehearsing(ctx) {
		s.bells.ring(things...)
	}
}

// lasting returns a secret, or the id of something new, "" in a rehearsal: it is
// no secret of anything then.
func lasting(ctx context.Context, text string) string {
	if store.Rehearsing(ctx) {
		return ""
	}
	return text
}

// Plan is what a deploy would have come to.
type Plan struct {
	Estimate
	Left   money.Amount // of the balance, without the deposit
	Limits Spending     // with what the VMs add
	// Repeated is the answer that the same request has had before under its id:
	// nothing new would be made or paid.
	Repeated []Deployed
}

// PlanDeploy does all that Deploy does and returns what came of it, of which
// nothing lasts. Returns the faults of a deploy.
func (s *Service) PlanDeploy(ctx context.Context, who account.Actor, d Deployment) (Plan, error) {
	o, err := s.order(ctx, who, d)
	if err != nil {
		return Plan{}, err
	}
	if err := s.storeGroup(Rehearse(ctx), []*order{o}); err != nil {
		return Plan{}, err
	}
	return o.plan, o.err
}

// foresee completes the plans of orders by what is written.
func (b *batch) foresee(ctx context.Context, group []*order) (err error) {
	for _, o := range group {
		if o.err != nil {
			continue
		}
		if len(b.accepted) == 0 {
			o.plan = Plan{Left: b.free[o.who.AccountID], Repeated: o.made}
			o.plan.Instances = int64(len(o.made))
		}
		if o.plan.Limits, err = b.spending(ctx, b.tx, o.who); err != nil {
			return err
		}
	}
	return nil
}
