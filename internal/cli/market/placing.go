package market

import (
	"github.com/spf13/cobra"

	"github.com/cpucloud/cpucloud/client"
	"github.com/cpucloud/cpucloud/internal/cli/session"
	"github.com/cpucloud/cpucloud/internal/fault"
)

// Placing are the flags that say where how many VMs are to go.
type Placing struct {
	Filters
	instances int
	strategy  string
	group     string
}

// Bind adds the flags to cmd.
func (p *Placing) Bind(s *session.Session, cmd *cobra.Command) {
	p.Filters.Bind(s, cmd)
	f := cmd.Flags()
	f.IntVarP(&p.instances, "instances", "n", 1, "how many VMs: all or none")
	f.StringVar(&p.strategy, "strategy", "", "among servers of one price: spread takes the one with the fewest of your VMs, pack the one with the most")
	f.StringVar(&p.group, "anti-affinity", "", "name of a group whose VMs never share a server")
	session.CompleteFlag(cmd, "instances", cobra.NoFileCompletions)
	session.CompleteFlag(cmd, "strategy", session.Words(client.StrategySpread, client.StrategyPack))
	session.CompleteFlag(cmd, "anti-affinity", cobra.NoFileCompletions)
	own := []string{"strategy", "anti-affinity"}
	p.flags, p.news = append(p.flags, own...), append(p.news, own...)
}

// Request returns what the flags say, or an Invalid fault.
func (p *Placing) Request() (client.Placing, error) {
	r := client.Placing{Instances: p.instances, Strategy: p.strategy, AntiAffinityGroup: p.group}
	switch p.strategy {
	case "", client.StrategySpread, client.StrategyPack:
	default:
		return r, fault.Newf(fault.Invalid, "--strategy %q is neither %s nor %s", p.strategy, client.StrategySpread, client.StrategyPack)
	}
	var err error
	r.Constraints, err = p.Wishes()
	return r, err
}
