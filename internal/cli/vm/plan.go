package vm

import (
	"context"
	"fmt"

	"github.com/cpucloud/cpucloud/client"
	"github.com/cpucloud/cpucloud/internal/cli/market"
	"github.com/cpucloud/cpucloud/internal/cli/session"
)

// plan tells what a deployment would come to.
func (w *wish) plan(ctx context.Context, s *session.Session, cloud *client.Client, d client.PlacedDeployment) error {
	p, err := cloud.Plan(ctx, d)
	if err != nil {
		return market.Explained(ctx, s, cloud, d.Placing, err)
	}
	w.dry.Note(s)
	if n := len(p.Repeated); n > 0 {
		s.Notef("The request was made before under this id: it would be answered with the same %d VMs, and nothing new would be made or paid.", n)
	}
	var t session.Table
	t.Add("instances:", fmt.Sprint(p.Instances))
	t.Add("price per epoch:", p.Total+" USDC")
	t.Add("deposit:", p.Deposit+" USDC")
	t.Add("balance after:", p.BalanceAfter+" USDC")
	for _, one := range []struct {
		label string
		limit client.Limit
	}{{"charged today:", p.Limits.PerDay}, {"this month:", p.Limits.PerMonth}, {"per 24 h running:", p.Limits.Running}} {
		if one.limit.Limit != nil {
			t.Add(one.label, fmt.Sprintf("%s of %s USDC", one.limit.Used, *one.limit.Limit))
		}
	}
	return s.Print(p, t)
}
